// The table of runs: search and filter, sort, fold by study, choose columns, tick, CSV.
// The rows are in the page; what they are searched and sorted by is in the element "data".
"use strict";

const { columns, runs } = JSON.parse(document.getElementById("data").textContent);
const columnOf = Object.fromEntries(columns.map((column) => [column.key, column]));
const element = (id) => document.getElementById(id);
const table = element("runs");
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];
const keys = heads.map((head) => head.dataset.key); // of each column of the table; of the first it is "run"
const rowOf = new Map([...body.rows].filter((row) => row.dataset.run).map((row) => [row.dataset.run, row]));
const studyRows = [...body.rows].filter((row) => row.dataset.study);
const everyRun = [...rowOf.keys()]; // the newest first
const ticked = new Set();
const unfolded = new Set();
const dropped = new Set(); // columns that somebody does not want
const hiding = document.head.appendChild(document.createElement("style"));
let sorting = null; // { key, down }
let shown = []; // names of the runs that search and choices leave

const valueOf = (name, key) => (key === "run" ? name : runs[name].values[key]);
const isMissing = (value) => value === null || value === undefined || value === "";
const asText = (key, value) =>
  isMissing(value) ? "" : columnOf[key]?.metric ? value.toFixed(3) : String(value);

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Search: every word must be somewhere in a run; NAME=value, NAME!=value and NAME<number ask one column.

const CONDITION = /^([\w-]+)(<=|>=|!=|=|<|>)(.+)$/;

function parseSearch(text) {
  const faults = [];
  const tests = text.trim().split(/\s+/).filter(Boolean).map((word) => {
    const [, name, sign, asked] = word.match(CONDITION) ?? [];
    if (!name) return (run) => haystack(run).includes(word.toLowerCase());
    const key = ["run", ...Object.keys(columnOf)].find((one) => one.toLowerCase() === name.toLowerCase());
    if (!key) faults.push(`There is no column "${name}".`);
    else if (/[<>]/.test(sign) && !Number.isFinite(Number(asked))) faults.push(`"${word}" must compare with a number.`);
    return key ? (run) => compareValue(valueOf(run, key), sign, asked) : () => true;
  });
  return { faults, matches: (run) => tests.every((test) => test(run)) };
}

function haystack(run) {
  const { values, study } = runs[run];
  return [run, study, ...Object.values(values)].join(" ").toLowerCase();
}

function compareValue(value, sign, asked) {
  const isSame = typeof value === "number"
    ? value === Number(asked)
    : String(value ?? "").toLowerCase().split(", ").includes(asked.toLowerCase());
  if (sign === "=") return isSame;
  if (sign === "!=") return !isSame;
  if (typeof value !== "number") return false;
  const other = Number(asked);
  return { "<": value < other, "<=": value <= other, ">": value > other, ">=": value >= other }[sign];
}

function matchesChoices(run) {
  return [...document.querySelectorAll("[data-choice]")].every(({ value, dataset }) => {
    const own = runs[run].values[dataset.choice];
    return !value || own === value || (dataset.choice === "tags" && own.split(", ").includes(value));
  });
}

// Order: runs by their values; a study by the run of it that comes first.

function compareRuns(one, other) {
  const values = [one, other].map((run) => valueOf(run, sorting.key));
  const missing = values.map(isMissing);
  if (missing[0] || missing[1]) return missing[0] - missing[1]; // at the end, whichever way
  const isNumeric = values.every((value) => typeof value === "number");
  const order = isNumeric ? values[0] - values[1] : compareTexts(...values.map(String));
  return sorting.down ? -order : order;
}

function compareTexts(one, other) {
  return one.localeCompare(other, "en", { numeric: true }); // s2 before s10
}

function orderRows() {
  const order = sorting ? [...shown].sort(compareRuns) : shown;
  const isGrouped = element("group").checked;
  const groups = new Map();
  for (const run of order) {
    const study = isGrouped ? runs[run].study : null;
    const key = study ?? ` ${run}`;
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  const isSearched = element("search").value.trim() !== "";
  for (const row of body.rows) row.hidden = true;
  for (const [key, members] of groups) {
    const head = studyRows.find((row) => row.dataset.study === key);
    const isOpen = !head || unfolded.has(key) || isSearched;
    if (head) fillStudy(head, members, isOpen);
    for (const run of members) {
      rowOf.get(run).hidden = !isOpen;
      body.append(rowOf.get(run));
    }
  }
  for (const row of studyRows.filter((one) => one.hidden)) body.append(row);
  table.classList.toggle("folding", isGrouped);
}

function fillStudy(row, members, isOpen) {
  row.hidden = false;
  body.append(row);
  row.querySelector(".fold").setAttribute("aria-expanded", isOpen);
  const tick = row.querySelector("input");
  tick.checked = members.every((run) => ticked.has(run));
  row.querySelector(".left").textContent = members.length < membersOf(row).length ? `, ${members.length} shown` : "";
  tick.indeterminate = !tick.checked && members.some((run) => ticked.has(run));
  keys.forEach((key, index) => {
    if (key === "run") return;
    const values = [...new Set(members.map((run) => valueOf(run, key)).filter((value) => !isMissing(value)))];
    row.cells[index].textContent = inOne(key, values);
    row.cells[index].classList.toggle("several", values.length > 1);
  });
}

// What a study's cell says of its runs: the value that they share, or from where to where, or how many values.
function inOne(key, values) {
  const isNumeric = values.every((value) => typeof value === "number");
  const sorted = values.sort((one, other) => (isNumeric ? one - other : String(one) < String(other) ? -1 : 1));
  if (sorted.length < 2) return asText(key, sorted[0]);
  if (key === "started") return asText(key, sorted.at(-1));
  if (isNumeric && (columnOf[key].metric || sorted.length > 3)) {
    return `${asText(key, sorted[0])} to ${asText(key, sorted.at(-1))}`;
  }
  const together = sorted.join(", ");
  return together.length < 20 ? together : `${sorted.length} values`;
}

// Columns: those of place "differs" only where the runs shown differ.

function showColumns() {
  const hidden = keys.map((key) => dropped.has(key) || isAlike(key));
  const rules = hidden.flatMap((isHidden, index) => (isHidden ? [`#runs tr > :nth-child(${index + 1})`] : []));
  hiding.textContent = rules.length ? `${rules.join(", ")} { display: none; }` : "";
  for (const label of element("columns").children) label.hidden = isAlike(label.dataset.key);
  return keys.filter((_, index) => !hidden[index]);
}

const isAlike = (key) =>
  columnOf[key]?.place === "differs" && new Set(shown.map((run) => valueOf(run, key))).size < 2;

function offerColumns() {
  for (const { key, label } of columns.filter((column) => column.place !== "nowhere")) {
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      dropped[box.checked ? "delete" : "add"](key);
      update();
    });
    element("columns").append(make("label", {}, box, label));
    element("columns").lastChild.dataset.key = key;
  }
}

// CSV of the runs and columns that are shown, those of folded studies too. A spreadsheet must compute no text of it.

function toCsv() {
  const shownKeys = ["study", ...showColumns()];
  const cell = (value) => {
    const text = typeof value === "string" ? value.replace(/^(?='*[=+\-@\t\r])/, "'") : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const order = [...body.rows].map((row) => row.dataset.run).filter((run) => shown.includes(run)); // as they stand
  const lines = order.map((run) => shownKeys.map((key) => (key === "study" ? runs[run].study : valueOf(run, key))));
  return [shownKeys, ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("");
}

function saveCsv() {
  const address = URL.createObjectURL(new Blob([toCsv()], { type: "text/csv" }));
  make("a", { href: address, download: "runs.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Ticks

function tick(names, isOn) {
  for (const name of names) ticked[isOn ? "add" : "delete"](name);
  update();
}

function addTick(row, label, membersOf) {
  const box = make("input", { type: "checkbox", ariaLabel: label });
  box.addEventListener("change", () => tick(membersOf(), box.checked));
  row.cells[0].prepend(box);
}

const membersOf = (row) => everyRun.filter((run) => runs[run].study === row.dataset.study);

function addFold(row) {
  const study = row.dataset.study;
  const button = make("button", { type: "button", className: "fold", ariaLabel: `Runs of ${study}` });
  button.addEventListener("click", () => {
    unfolded[unfolded.has(study) ? "delete" : "add"](study);
    update();
  });
  row.cells[0].firstChild.after(button); // after the box
}

function addSort(head, key) {
  const button = make("button", { type: "button" }, ...head.childNodes);
  button.addEventListener("click", () => {
    const isFirst = sorting?.key !== key;
    sorting = { key, down: isFirst ? Boolean(columnOf[key]?.metric) : !sorting.down };
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
    update();
  });
  head.append(button);
}

function update() {
  const { faults, matches } = parseSearch(element("search").value);
  shown = everyRun.filter((run) => matches(run) && matchesChoices(run));
  orderRows();
  showColumns();
  for (const [name, row] of rowOf) {
    row.classList.toggle("ticked", ticked.has(name));
    row.querySelector("input").checked = ticked.has(name);
  }
  element("status").textContent = faults.join(" ")
    || (shown.length < everyRun.length ? `${shown.length} of ${everyRun.length}.` : `${everyRun.length} in all.`);
  element("status").classList.toggle("fault", faults.length > 0);
  element("unfold").textContent = unfolded.size ? "Fold all" : "Unfold all";
  document.dispatchEvent(new Event("runs-shown")); // comparison and pictures follow
}

// A table that goes on to the right says so: how much of it is seen changes with columns, filters and the window.

function markEdge(wide) {
  const mark = () => {
    const isMore = wide.scrollLeft + wide.clientWidth < wide.scrollWidth - 1;
    wide.classList.toggle("more", isMore);
    if (wide.contains(table)) element("more").hidden = !isMore;
  };
  wide.addEventListener("scroll", mark, { passive: true });
  const sizes = new ResizeObserver(mark);
  for (const seen of [wide, ...wide.children]) sizes.observe(seen);
}

document.querySelectorAll(".wide").forEach(markEdge);
for (const [name, row] of rowOf) addTick(row, `Compare ${name}`, () => [name]);
for (const row of studyRows) {
  const shownOf = () => membersOf(row).filter((run) => shown.includes(run));
  addTick(row, `Compare the runs of ${row.dataset.study}`, shownOf);
  addFold(row);
}
heads.forEach((head, index) => addSort(head, keys[index]));
offerColumns();
for (const id of ["search", "group"]) element(id).addEventListener("input", update);
for (const choice of document.querySelectorAll("[data-choice]")) choice.addEventListener("input", update);
element("csv").addEventListener("click", saveCsv);
element("clear").addEventListener("click", () => tick([...ticked], false));
element("unfold").addEventListener("click", () => {
  const names = studyRows.map((row) => row.dataset.study);
  unfolded.size ? unfolded.clear() : names.forEach((name) => unfolded.add(name));
  update();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    element("search").focus();
  }
});
