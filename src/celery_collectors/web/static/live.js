// What htmx does not do: open details stay open, ticked boxes stay ticked, and the badge says whether this is live.
"use strict";

const badge = () => document.getElementById("badge");
const say = (live) => {
  const it = badge();
  if (!it || it.dataset.over) return;
  it.hidden = false;
  it.textContent = live ? "● live" : "○ reconnecting";
  it.className = live ? "live" : "away";
};

document.addEventListener("htmx:beforeSwap", (event) => {
  const kept = [...event.detail.target.querySelectorAll("details[open][id], input:checked[id]")].map((one) => one.id);
  event.detail.target.dataset.kept = JSON.stringify(kept);
});
document.addEventListener("htmx:afterSwap", (event) => {
  for (const id of JSON.parse(event.detail.target.dataset.kept || "[]")) {
    const one = document.getElementById(id);
    if (!one) continue;
    if (one.tagName === "DETAILS") one.open = true;
    else one.checked = true;
  }
});

const list = document.getElementById("list");
if (list) {
  document.addEventListener("htmx:afterRequest", (event) => say(event.detail.successful));
}

const part = document.getElementById("part");
if (part && part.dataset.events) {
  const refresh = () => htmx.trigger(part, "changed");
  const follow = () => {
    const events = new EventSource(part.dataset.events);
    const tick = setInterval(refresh, 1000); // the line that says now
    events.onopen = () => say(true);
    events.onerror = () => {
      say(false);
      if (events.readyState !== EventSource.CLOSED) return;
      clearInterval(tick);
      setTimeout(follow, 1000); // a server that answers with an error ends a stream for good: another one may come
    };
    events.addEventListener("collector", refresh);
    events.addEventListener("request", refresh);
    events.addEventListener("end", () => {
      events.close();
      clearInterval(tick);
      refresh();
      badge().dataset.over = "yes";
      badge().hidden = true;
      for (const form of document.querySelectorAll("form[data-when]")) form.hidden = form.dataset.when !== "over";
    });
  };
  follow();
}
