// The lab's part of Locust's page, and of the page /lab: keeps its figures up to date.
//
// Locust's page is a React application. Its own nodes are never changed here, but as a user would: the form's "Custom
// parameters" are opened, and presets fill in fields. Ours are a <section> and the form's presets, each always the last child
// of where it is shown, so that React, which only knows its own nodes, finds them where it left them; lab.css says where they
// appear. The section is removed when another tab is selected.

const TAB = "Lab";
const PARAMETERS = "Custom parameters";
const EVERY_MS = 1000;
const PATIENCE_MS = 5000;
// How long Locust's page takes to show an answer, or to close its form.
const SHOWN_MS = 500;

// Beside this file, wherever that is served from.
const address = (path) => new URL(path, import.meta.url);

const onItsOwn = document.getElementById("lab");
const section = onItsOwn ?? blank();
const parts = section.querySelector(".lab-parts");
const silence = section.querySelector(".lab-silence");

function blank() {
  const made = document.createElement("section");
  made.id = "lab";
  made.setAttribute("aria-label", "Lab");
  made.innerHTML = '<p class="lab-silence" role="status" hidden></p><div class="lab-parts"></div>';
  return made;
}

// --- Where it is shown

// The element whose last child the section has to be; null where it is not shown.
function home() {
  const main = document.querySelector("#root main");
  const tabs = main?.querySelector('[role="tablist"]');
  if (!main || !tabs) return main; // No tabs: the form that starts a test.
  const ours = [...tabs.querySelectorAll('[role="tab"]')].find((tab) => tab.textContent.trim() === TAB);
  if (ours?.getAttribute("aria-selected") !== "true") return null;
  return [...main.children].find((child) => child.contains(tabs));
}

function place() {
  const where = home();
  if (!where) {
    section.remove();
  } else if (where.lastElementChild !== section) {
    where.append(section);
    refresh();
  }
}

// The colour behind a column that stays while others scroll below it: Locust's, which has a switch for it.
function matchGround() {
  if (!section.isConnected) return;
  const ground = getComputedStyle(document.body).backgroundColor;
  if (section.style.getPropertyValue("--lab-ground") !== ground) section.style.setProperty("--lab-ground", ground);
}

// A test's target, workload and connection are chosen there. Once for each form: a user who closes it wants it closed.
const opened = new WeakSet();

function openParameters() {
  for (const summary of document.querySelectorAll('form [aria-expanded="false"]')) {
    if (summary.textContent.trim() !== PARAMETERS || opened.has(summary)) continue;
    opened.add(summary);
    summary.click();
  }
}

// --- The form: the parameters of the workload that is chosen, and presets

// What the lab knows of it, in the lab's own names; Locust's page has `cpuMs` for `cpu_ms`.
const known = window.templateArgs?.lab ?? { fields: {}, presets: [] };
const parameters = [...new Set(Object.values(known.fields).flat())];

function named(name) {
  return `[name="${CSS.escape(name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase()))}"]`;
}

// Which fields are hidden follows from an attribute of the whole page.
function hideFields() {
  const sheet = new CSSStyleSheet();
  for (const [workload, names] of Object.entries(known.fields)) {
    const hidden = parameters.filter((name) => !names.includes(name)).map(named);
    if (!hidden.length) continue;
    const chosen = `html[data-lab-workload="${CSS.escape(workload)}"]`;
    sheet.insertRule(`${chosen} form .MuiFormControl-root:has(:is(${hidden})) { display: none; }`);
  }
  document.adoptedStyleSheets.push(sheet);
}

function followWorkload() {
  const workload = document.querySelector('form select[name="workload"]');
  if (!workload || document.documentElement.dataset.labWorkload === workload.value) return;
  document.documentElement.dataset.labWorkload = workload.value;
  // What was typed there, and cannot be seen any more, must not be in the way.
  for (const name of parameters.filter((each) => !known.fields[workload.value]?.includes(each))) {
    const field = workload.form.querySelector(named(name));
    if (field && field.value !== field.defaultValue) fill(field, field.defaultValue);
  }
}

function showPresets() {
  if (!known.presets.length) return;
  for (const { form } of document.querySelectorAll('form select[name="workload"]')) {
    const where = form.parentElement;
    if (where.lastElementChild.className !== "lab-presets") where.append(presets(form));
  }
}

function presets(form) {
  const made = document.createElement("div");
  made.className = "lab-presets";
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", "Presets");
  for (const { text, fields } of known.presets) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => {
      for (const [name, value] of Object.entries(fields)) {
        const field = form.querySelector(named(name));
        if (field) fill(field, value);
      }
    });
    made.append(button);
  }
  return made;
}

// As if it were typed or chosen. React listens to these events; what is set through a field's own `value` it would not see.
function fill(field, value) {
  const { prototype } = field instanceof HTMLSelectElement ? HTMLSelectElement : HTMLInputElement;
  Object.getOwnPropertyDescriptor(prototype, "value").set.call(field, value);
  for (const type of ["input", "change"]) field.dispatchEvent(new Event(type, { bubbles: true }));
}

// --- What it shows

let shown = "";
let asking = false;

async function refresh() {
  if (asking || !section.isConnected || document.hidden) return;
  asking = true;
  try {
    const response = await ask("figures", { cache: "no-store" });
    const html = await response.text();
    if (html !== shown) {
      const fresh = document.createElement("template");
      fresh.innerHTML = html;
      matchChildren(parts, fresh.content);
      shown = html;
    }
    report("figures", "");
  } catch (error) {
    const ended = error instanceof TypeError ? "; it was ended, or the run is over" : "";
    report("figures", `The lab does not answer: ${error.message}${ended}. Its last figures:`);
  } finally {
    asking = false;
  }
}

async function ask(path, options) {
  const response = await fetch(address(path), { signal: AbortSignal.timeout(PATIENCE_MS), ...options });
  // Followed to the page of the login.
  if (response.redirected) throw new Error("you are not logged in any more; load this page again");
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response;
}

const troubles = new Map();

function report(about, trouble) {
  troubles.set(about, trouble);
  const text = [...troubles.values()].filter(Boolean).join("\n");
  if (silence.textContent !== text) silence.textContent = text;
  silence.hidden = !text;
}

// Make `old` like `fresh` with as few changes as there are differences, so that new figures do not disturb a reader who
// selects text, scrolls a table or has moved the focus.
function match(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name, value } of fresh.attributes) {
    if (!belongsToReader(old, name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!belongsToReader(old, name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  matchChildren(old, fresh);
}

function matchChildren(old, fresh) {
  let next = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    // A node with a key is the same wherever it has moved to; any other is the same if it is of the same kind.
    const same = key
      ? [...old.children].find((child) => keyOf(child) === key && child.nodeName === wanted.nodeName)
      : next && !keyOf(next) && next.nodeName === wanted.nodeName && next;
    if (!same) {
      old.insertBefore(wanted, next);
    } else {
      match(same, wanted);
      if (same === next) next = next.nextSibling;
      else old.insertBefore(same, next);
    }
  }
  while (next) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

// An update must not change which details are open, nor which button waits for its answer.
function belongsToReader(element, attribute) {
  return (element.nodeName === "DETAILS" && attribute === "open") || (element.nodeName === "BUTTON" && attribute === "disabled");
}

// --- What it does

async function startAgain(button) {
  const server = button.dataset.startAgain;
  button.disabled = true;
  try {
    await ask(`start-again/${encodeURIComponent(server)}`, { method: "POST" });
    report("start-again", "");
  } catch (error) {
    report("start-again", `${server} is not started again: ${error.message}`);
  }
  await refresh();
  button.disabled = false;
}

section.addEventListener("click", (event) => {
  const button = event.target.closest("[data-start-again]");
  if (button) startAgain(button);
});

// --- What comes of the form

// Locust's page shows in its form why a test does not start. But it closes the form that changes a test under way before
// that can be read, and shows nothing while that test is being stopped for another.
function watchForm() {
  const theirs = window.fetch;
  window.fetch = async (...request) => {
    const { pathname } = new URL(request[0].url ?? request[0], location);
    if (!pathname.endsWith("/swarm")) return theirs(...request);
    note("");
    const waiting = setTimeout(note, SHOWN_MS, "The test under way is being stopped first ...");
    try {
      const response = await theirs(...request);
      // Without waiting for it: the page goes on with the answer.
      response.clone().json().then(showRefusal, () => showRefusal({ message: `status ${response.status}` }));
      return response;
    } finally {
      clearTimeout(waiting);
      note("");
    }
  };
}

function showRefusal({ success, message }) {
  if (success) return;
  // When Locust's page has done what it does with it.
  setTimeout(() => {
    const forms = [...document.querySelectorAll("form")];
    if (!forms.some((form) => form.textContent.includes(message))) note(message, "alert");
  }, SHOWN_MS);
}

function note(text, role = "status") {
  document.getElementById("lab-note")?.remove();
  if (!text) return;
  const made = document.createElement("div");
  made.id = "lab-note";
  made.setAttribute("role", role);
  const close = document.createElement("button");
  close.textContent = "Close";
  close.addEventListener("click", () => made.remove());
  made.append(text, close);
  document.body.append(made);
}

if (!onItsOwn) {
  watchForm();
  hideFields();
  document.addEventListener("change", followWorkload);
  const follow = () => {
    place();
    openParameters();
    followWorkload();
    showPresets();
    matchGround();
  };
  new MutationObserver(follow).observe(document.body, {
    childList: true,
    subtree: true,
    attributes: true,
    attributeFilter: ["aria-selected"],
  });
  follow();
}
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, EVERY_MS);
