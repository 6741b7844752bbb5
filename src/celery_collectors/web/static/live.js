// What htmx does not do: rows open, open details stay open, ticked boxes stay ticked, and the badge says whether this
// is live.
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

// A row of the table opens: its link leads to a page of its own, which is put below it instead. htmx keeps that below
// while it renews the table around it.
const openerOf = (row) => document.querySelector(`a[aria-controls="${row.id}"]`);
const fill = (row) => htmx.ajax("GET", openerOf(row).href, { target: row.cells[0], swap: "innerHTML" });
const refill = (name) => {
  for (const row of document.querySelectorAll("tr.more:not([hidden])")) {
    if (name === undefined || openerOf(row).dataset.name === name) fill(row);
  }
};
const tell = () => {
  for (const row of document.querySelectorAll("tr.more")) openerOf(row).setAttribute("aria-expanded", !row.hidden);
};
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[aria-controls]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const row = document.getElementById(link.getAttribute("aria-controls"));
  row.hidden = !row.hidden;
  if (!row.hidden) fill(row);
  tell();
});
document.addEventListener("htmx:afterSwap", tell);
tell();

// One stream for each page that is seen: a browser has six connections to a server, and a seventh page would wait for
// ever. A server that answers with an error ends a stream for good: another one may come.
const whenTurned = (then) => document.addEventListener("visibilitychange", then, { once: true });
const follow = (url, hear) => {
  if (document.hidden) {
    whenTurned(() => follow(url, hear));
    return;
  }
  const events = new EventSource(url);
  const put_away = hear(events);
  whenTurned(() => {
    if (events.readyState === EventSource.CLOSED) return;
    events.close();
    put_away();
    follow(url, hear);
  });
  events.onopen = () => say(true);
  events.onerror = () => {
    say(false);
    if (events.readyState !== EventSource.CLOSED) return;
    put_away();
    setTimeout(follow, 1000, url, hear);
  };
};

const list = document.getElementById("list");
if (list && list.dataset.events) {
  follow(list.dataset.events, (events) => {
    events.addEventListener("changed", () => htmx.trigger(list, "changed"));
    return () => {};
  });
}

const part = document.getElementById("part");
if (part && part.dataset.events) {
  const refresh = () => htmx.trigger(part, "changed");
  follow(part.dataset.events, (events) => {
    const tick = setInterval(refresh, 1000); // the line that says now
    events.addEventListener("collector", (event) => {
      refresh();
      refill(JSON.parse(event.data).name);
    });
    events.addEventListener("request", refresh);
    events.addEventListener("end", (event) => {
      const state = JSON.parse(event.data).state;
      events.close();
      clearInterval(tick);
      refresh();
      refill();
      badge().dataset.over = "yes";
      badge().hidden = true;
      for (const one of document.querySelectorAll("[data-when]")) one.hidden = !one.dataset.when.includes(state);
    });
    return () => clearInterval(tick);
  });
}
