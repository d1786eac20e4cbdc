// Brings the numbers of a page up to date each second while somebody sees it, and lets a form be
// sent once. Every page works without this.
const place = document.querySelector("[data-live-url]");
const EVERY_MS = 1000;
const SLOWEST_MS = 15000;
const OLD_MS = 3000;
const OUT_OF_DATE = "This page is out of date: load it again.";

let seq = place?.dataset.liveSeq ?? "";
let waitMs = EVERY_MS;
let goodMs = Date.now();
let timer = 0;
let asking = false;
let leaving = false;

function show(key, text) {
  for (const one of document.querySelectorAll(`[data-live="${key}"]`)) {
    if (one.textContent !== text) one.textContent = text;
    if (key === "age" || key === "cluster") one.hidden = text === "";
  }
}

function isTyping() {
  return [...document.querySelectorAll("input:not([type=hidden]), textarea")].some(
    (one) => one === document.activeElement || one.value !== one.defaultValue,
  );
}

function take(told) {
  const others = place.dataset.liveRuns;
  if (told.live === false || (others !== undefined && others !== told.runs)) {
    // Once: another one would cut off the first, for ever where the page takes a second to come.
    leaving = !isTyping();
    if (leaving) location.reload();
    show("age", OUT_OF_DATE);
    show("status", OUT_OF_DATE);
  }
  for (const [key, value] of Object.entries(told)) if (typeof value === "string") show(key, value);
  const bar = document.querySelector("[data-live-bar]");
  if (bar && told.total) {
    bar.max = told.total;
    bar.value = told.done;
  }
  if (told.heading) document.title = told.heading;
  if (told.seq) seq = String(told.seq);
}

async function ask() {
  if (asking || leaving || document.visibilityState !== "visible") return;
  asking = true;
  try {
    const answer = await fetch(`${place.dataset.liveUrl}?after=${encodeURIComponent(seq)}`, {
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(10000),
    });
    // the session is over: the page that says so
    if ((answer.status === 401 || answer.status === 403) && !isTyping()) location.reload();
    if (answer.status !== 304) {
      if (!answer.ok) throw new Error(String(answer.status));
      take(await answer.json());
    } else if (goodMs + OLD_MS < Date.now()) {
      show("age", "");
    }
    goodMs = Date.now();
    waitMs = EVERY_MS;
  } catch {
    waitMs = Math.min(SLOWEST_MS, waitMs * 2);
  }
  asking = false;
  next();
}

function next() {
  clearTimeout(timer);
  timer = setTimeout(ask, waitMs);
}

function tellAge() {
  const oldMs = Date.now() - goodMs;
  if (oldMs > OLD_MS && document.visibilityState === "visible") {
    show("age", `data is ${Math.round(oldMs / 1000)} s old: the console does not answer`);
  }
}

if (place) {
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") ask();
  });
  setInterval(tellAge, EVERY_MS);
  next();
}

document.addEventListener("submit", (event) => {
  for (const one of event.target.querySelectorAll("button")) one.disabled = true;
});
addEventListener("pageshow", (event) => {
  if (event.persisted) for (const one of document.querySelectorAll("button")) one.disabled = false;
});
