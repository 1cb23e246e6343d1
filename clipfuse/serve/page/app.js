// The page: rows that one drops and types, asked of the server one by one, and thresholds that are the page's own.
import { asCsv, choose } from "/table.js";

const SHOWN = 8; // bars of a row before "show all"
const AT_ONCE = 4; // requests
const TYPING = 300; // ms without a key before a caption is asked for
const TRIES = 6;

const $ = (id) => document.getElementById(id);
const percent = (value) =>
  value > 0 && value < 0.0005 ? "<0.1%" : `${(100 * value).toFixed(value > 0 && value < 0.0095 ? 1 : 0)}%`;
const rows = [];
const run = { labels: [], emptyRows: "nothing", reads: [], columns: [], limits: null };
let token = null;
let asking = 0;
const line = []; // rows that wait to be asked for
let made = 0;

// ---- the server

function findToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  token = sessionStorage.getItem("token");
}

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) {
    $("token-form").hidden = false;
    $("token").focus();
  }
  const body = await answer.json();
  if (answer.ok) return body;
  const error = new Error([body.error.message, body.error.fix].filter(Boolean).join(". "));
  error.retryAfter = answer.status === 503 ? Number(answer.headers.get("Retry-After") ?? 1) : null;
  throw error;
}

async function start() {
  let found;
  try {
    found = await ask("/labels");
  } catch (error) {
    $("about").textContent = "";
    $("alarm").textContent = error instanceof TypeError ? "The server can't be reached." : error.message;
    return;
  }
  $("alarm").textContent = "";
  $("token-form").hidden = true;
  run.labels = found.labels.map(({ name, threshold }) => ({ name, threshold, own: threshold }));
  run.emptyRows = found.empty_rows;
  run.reads = found.reads;
  run.columns = found.number_columns;
  run.limits = found.limits;
  $("run").textContent = found.run;
  const words = { image: "pictures", text: "captions", numbers: "numbers" };
  $("about").textContent = `${run.labels.length} labels, from ${run.reads.map((part) => words[part]).join(" and ")}.`;
  if (run.emptyRows === "most-probable") {
    $("rule").textContent += " Where none is, the most probable one is chosen.";
  }
  drawThresholds();
  drawCounts();
  for (const row of rows) {
    drawNumbers(row);
    queue(row);
  }
}

// ---- asking

function queue(row) {
  if (!run.limits) return;
  row.version += 1;
  row.tries = 0;
  row.element.classList.add("stale");
  if (!line.includes(row)) line.push(row);
  work();
}

async function work() {
  while (asking < AT_ONCE && line.length > 0) {
    asking += 1;
    const row = line.shift();
    predict(row).finally(() => {
      asking -= 1;
      work();
    });
  }
}

async function predict(row) {
  const version = row.version;
  const isNew = () => version !== row.version || row.isGone;
  const form = new FormData();
  if (row.file) form.append("image", row.file, "picture");
  if (row.caption.trim()) form.append("caption", row.caption);
  if (Object.keys(row.numbers).length > 0) form.append("numbers", JSON.stringify(row.numbers));
  if ([...form.keys()].length === 0) {
    return settle(row, null, "");
  }
  if (row.file && row.file.size > run.limits.body_bytes * 0.98) {
    return settle(row, null, `The picture has more than ${Math.floor(run.limits.body_bytes / 1e6)} MB.`);
  }
  say(row, "Asking …");
  try {
    const found = await ask("/predict", { method: "POST", body: form });
    if (!isNew()) settle(row, found.rows[0], problemsOf(found.rows[0]));
  } catch (error) {
    if (isNew()) return;
    row.tries += 1;
    if (error.retryAfter !== null && error.retryAfter !== undefined && row.tries < TRIES) {
      say(row, `The server is busy; asking again in ${error.retryAfter} s.`);
      setTimeout(() => {
        if (!isNew() && !line.includes(row)) line.push(row);
        work();
      }, 1000 * error.retryAfter);
      return;
    }
    settle(row, null, error instanceof TypeError ? "The server can't be reached." : error.message);
  }
}

function problemsOf(answer) {
  const words = { image: "Picture", text: "Caption", numbers: "Numbers" };
  const found = Object.entries(answer.problems).map(([part, why]) => `${words[part]}: ${why}.`);
  if (answer.ignored.length > 0) {
    found.push(`${answer.ignored.map((part) => words[part]).join(" and ")}: not read by this run.`);
  }
  return found.join(" ");
}

function settle(row, answer, problem) {
  row.answer = answer;
  row.problem = problem;
  row.element.classList.remove("stale");
  say(row, problem, problem !== "");
  row.order = answer ? run.labels.map(({ name }) => name).sort((a, b) => answer.probabilities[b] - answer.probabilities[a]) : [];
  drawBars(row);
  drawCounts();
  if (answer) {
    const chosen = chosenOf(row).map((name) => `${name} ${percent(answer.probabilities[name])}`);
    $("said").textContent = `${row.title}: ${chosen.join(", ") || "no label"}. ${problem}`;
  } else if (problem) {
    $("said").textContent = `${row.title}: ${problem}`;
  }
}

function say(row, text, isProblem = false) {
  const state = row.element.querySelector(".state");
  state.textContent = text;
  state.classList.toggle("problem", isProblem);
}

const chosenOf = (row) => (row.answer ? choose(row.answer.probabilities, run.labels, run.emptyRows) : []);

// ---- drawing

function addRow(file) {
  made += 1;
  const element = $("row").content.firstElementChild.cloneNode(true);
  const title = file ? file.name || `Picture ${made}` : `Row ${made}`;
  const row = { element, file, name: file ? title : null, title, caption: "", numbers: {}, version: 0, tries: 0 };
  Object.assign(row, { answer: null, problem: "", order: [], bars: new Map(), isWhole: false, isGone: false });
  element.querySelector("h3").textContent = title;
  const picture = element.querySelector("img");
  if (file) {
    picture.src = URL.createObjectURL(file);
    picture.addEventListener("error", () => {
      picture.classList.add("unshown");
      element.querySelector(".no-picture").textContent = "can't be shown";
    });
  }
  const caption = element.querySelector("textarea");
  caption.id = `caption-${made}`;
  element.querySelector(".caption-label").htmlFor = caption.id;
  caption.setAttribute("aria-label", `Caption of ${title}`);
  if (run.limits) caption.maxLength = run.limits.caption_characters;
  caption.addEventListener("input", () => {
    row.caption = caption.value;
    later(row);
  });
  const remove = element.querySelector(".remove");
  remove.setAttribute("aria-label", `Remove ${title}`);
  remove.addEventListener("click", () => removeRow(row));
  element.querySelector(".more").addEventListener("click", () => {
    row.isWhole = !row.isWhole;
    drawBars(row);
  });
  drawNumbers(row);
  rows.push(row);
  $("rows").append(element);
  drawCounts();
  if (file) queue(row);
  return row;
}

function later(row) {
  clearTimeout(row.timer);
  row.version += 1; // what is under way is about another caption
  row.element.classList.add("stale");
  row.timer = setTimeout(() => queue(row), TYPING);
}

function removeRow(row) {
  const place = rows.indexOf(row);
  row.isGone = true;
  clearTimeout(row.timer);
  const source = row.element.querySelector("img").src;
  if (source) URL.revokeObjectURL(source);
  row.element.remove();
  rows.splice(place, 1);
  const next = rows[Math.min(place, rows.length - 1)];
  (next ? next.element.querySelector(".remove") : $("files")).focus();
  $("said").textContent = `${row.title} is removed`;
  drawCounts();
}

function drawNumbers(row) {
  const place = row.element.querySelector(".numbers");
  if (place.children.length > 0) return;
  for (const name of run.columns) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "number";
    input.step = "any";
    input.addEventListener("input", () => {
      if (Number.isFinite(input.valueAsNumber)) row.numbers[name] = input.valueAsNumber;
      else delete row.numbers[name];
      later(row);
    });
    label.append(name, input);
    place.append(label);
  }
}

function drawBars(row) {
  const list = row.element.querySelector(".bars");
  const chosen = new Set(chosenOf(row));
  const order = row.order.filter((name, place) => row.isWhole || place < SHOWN || chosen.has(name));
  list.replaceChildren(...order.map((name) => drawBar(row, name, chosen.has(name))));
  const more = row.element.querySelector(".more");
  more.hidden = row.order.length <= SHOWN;
  more.textContent = row.isWhole ? "Show fewer" : `Show all ${row.order.length}`;
  more.setAttribute("aria-expanded", String(row.isWhole));
  more.setAttribute("aria-label", `${more.textContent} labels of ${row.title}`);
}

function drawBar(row, name, isChosen) {
  const bar = row.bars.get(name) ?? newBar(row, name);
  const { threshold } = run.labels.find((label) => label.name === name);
  const value = row.answer.probabilities[name];
  bar.element.classList.toggle("chosen", isChosen);
  bar.mark.textContent = isChosen ? "✓" : "";
  bar.fill.style.width = `${100 * value}%`;
  bar.cut.style.left = `${100 * threshold}%`;
  bar.percent.textContent = percent(value);
  bar.meter.setAttribute("aria-valuenow", (100 * value).toFixed(1));
  const words = `${percent(value)}, ${isChosen ? "chosen" : "not chosen"}, threshold ${percent(threshold)}`;
  bar.meter.setAttribute("aria-valuetext", words);
  return bar.element;
}

function newBar(row, name) {
  const part = (kind, parent) => {
    const element = document.createElement("span");
    element.className = kind;
    parent.append(element);
    return element;
  };
  const element = document.createElement("li");
  element.className = "bar";
  const bar = { element, mark: part("mark", element), name: part("name", element), meter: part("meter", element) };
  Object.assign(bar, { percent: part("percent", element), fill: part("fill", bar.meter), cut: part("cut", bar.meter) });
  for (const seen of [bar.mark, bar.name, bar.percent]) seen.setAttribute("aria-hidden", "true"); // the meter says it all
  bar.name.textContent = name;
  bar.name.title = name;
  bar.meter.setAttribute("role", "meter");
  bar.meter.setAttribute("aria-label", name);
  bar.meter.setAttribute("aria-valuemin", "0");
  bar.meter.setAttribute("aria-valuemax", "100");
  row.bars.set(name, bar);
  return bar;
}

function drawThresholds() {
  $("thresholds").replaceChildren(
    ...run.labels.map((label, place) => {
      const element = document.createElement("div");
      element.className = "threshold";
      const head = document.createElement("div");
      const name = document.createElement("label");
      name.textContent = label.name;
      label.seen = document.createElement("span");
      label.seen.setAttribute("aria-hidden", "true"); // the slider says it
      label.input = document.createElement("input");
      Object.assign(label.input, { type: "range", min: "0", max: "1", step: "0.01", id: `threshold-${place}` });
      name.htmlFor = label.input.id;
      head.append(name, label.seen);
      label.input.addEventListener("input", () => {
        label.threshold = Number(label.input.value);
        drawThresholdState(label);
        rows.forEach(drawBars);
        drawCounts();
      });
      element.append(head, label.input);
      drawThresholdState(label);
      return element;
    }),
  );
}

function drawThresholdState(label) {
  if (Number(label.input.value) !== label.threshold) label.input.value = String(label.threshold);
  $("reset").disabled = run.labels.every(({ threshold, own }) => threshold === own);
}

function drawCounts() {
  const answered = rows.filter((row) => row.answer);
  const counts = new Map(run.labels.map(({ name }) => [name, 0]));
  for (const row of answered) for (const name of chosenOf(row)) counts.set(name, counts.get(name) + 1);
  for (const label of run.labels) {
    const share = answered.length > 0 ? `${counts.get(label.name)} of ${answered.length}` : "";
    label.seen.textContent = [percent(label.threshold), share].filter(Boolean).join(" · ");
    label.input.setAttribute("aria-valuetext", percent(label.threshold) + (share ? `, chosen in ${share} rows` : ""));
  }
  $("count").textContent = rows.length > 0 ? `(${rows.length})` : "";
  $("empty").hidden = rows.length > 0;
  $("clear").disabled = rows.length === 0;
  $("download").disabled = answered.length === 0;
}

// ---- what a person does

function addFiles(files) {
  for (const file of files) addRow(file);
}

function download() {
  const text = asCsv(rows, run.labels, run.emptyRows, run.columns);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  $("said").textContent = `labels.csv with ${rows.length} rows`;
}

$("files").addEventListener("change", () => {
  addFiles($("files").files);
  $("files").value = "";
});
$("add").addEventListener("click", () => addRow(null).element.querySelector("textarea").focus());
$("clear").addEventListener("click", () => [...rows].forEach(removeRow));
$("download").addEventListener("click", download);
$("reset").addEventListener("click", () => {
  for (const label of run.labels) {
    label.threshold = label.own;
    drawThresholdState(label);
  }
  rows.forEach(drawBars);
  drawCounts();
  $("said").textContent = "Thresholds are as the run has them";
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  findToken();
  start();
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // a browser would leave the page and show the file
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") addFiles(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length > 0) {
    event.preventDefault();
    addFiles(event.clipboardData.files);
  }
});

findToken();
start();
