"use strict";
// The token comes in the address's fragment, which no server and no log ever sees, and stays with this tab.
const token = location.hash.slice(1) || sessionStorage.getItem("token") || "";
sessionStorage.setItem("token", token);
history.replaceState(null, "", location.pathname + location.search);

const $ = id => document.getElementById(id);
let release = new URLSearchParams(location.search).get("release") || "";
let tag = "", timer = 0;

function ask(path, options = {}) {
  return fetch(path, { ...options, headers: { ...options.headers, Authorization: `Bearer ${token}` } });
}

async function message(answer) {
  return (await answer.json().catch(() => ({}))).message || `status ${answer.status}`;
}

async function look() {
  clearTimeout(timer);
  try {
    const answer = await ask(`/api/releases?release=${encodeURIComponent(release)}`, { headers: { "If-None-Match": tag } });
    if (answer.status === 200) {
      tag = answer.headers.get("ETag");
      show(await answer.text());
    }
    $("state").textContent = answer.status < 400 ? `as of ${new Date().toISOString().slice(11, 19)} UTC` : await message(answer);
    if (answer.status === 401) return;
  } catch {
    $("state").textContent = "the dashboard does not answer any more; what is below is old";
  }
  timer = setTimeout(look, 2000);
}

function show(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const open = Object.fromEntries([...$("content").querySelectorAll("details")].map(each => [each.className, each.open]));
  const scrolled = [...$("content").querySelectorAll(".scroll")].map(each => [each.scrollLeft, each.scrollTop]);
  const focus = document.activeElement?.dataset ?? {};
  $("content").replaceChildren(...page.body.children);
  for (const each of $("content").querySelectorAll("details")) each.open = open[each.className] ?? each.open;
  [...$("content").querySelectorAll(".scroll")].forEach((each, place) => each.scrollTo(...(scrolled[place] ?? [0, 0])));
  for (const key of ["word", "release"]) {
    if (focus[key]) $("content").querySelector(`button[data-${key}="${CSS.escape(focus[key])}"]`)?.focus({ preventScroll: true });
  }
}

function say(text, bad) {
  $("said").textContent = text;
  $("said").className = bad ? "bad" : "";
  $("said").hidden = false;
  setTimeout(() => { $("said").hidden = true; }, 6000);
}

async function tell(name, word) {
  if ((word === "promote" || word === "abort") && !confirm(`${word} ${name}?`)) return;
  try {
    const answer = await ask(`/api/releases/${name.split("/").map(encodeURIComponent).join("/")}/${word}`, { method: "POST" });
    say(await message(answer), !answer.ok);
  } catch {
    say("the dashboard does not answer", true);
  }
  look();
}

$("content").addEventListener("click", event => {
  const button = event.target.closest("button");
  if (button?.dataset.word) tell($("release").dataset.release, button.dataset.word);
  if (button?.dataset.release) {
    release = button.dataset.release;
    history.replaceState(null, "", `?release=${encodeURIComponent(release)}`);
    look();
  }
});
look();
