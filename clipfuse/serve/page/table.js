// From probabilities to chosen labels and to a CSV: nothing here knows of the page.

/** Names of the labels that are chosen: those at their threshold or above; where none is and the run says so, the most
 * probable one (of equal ones the first). */
export function choose(probabilities, labels, emptyRows) {
  const chosen = labels.filter((label) => probabilities[label.name] >= label.threshold);
  if (chosen.length === 0 && emptyRows === "most-probable" && labels.length > 0) {
    let best = labels[0];
    for (const label of labels) if (probabilities[label.name] > probabilities[best.name]) best = label;
    chosen.push(best);
  }
  return chosen.map((label) => label.name);
}

/** A table of what the rows have and what is said of them; spreadsheets take none of its cells for a formula. */
export function asCsv(rows, labels, emptyRows, columns) {
  const names = labels.map((label) => label.name);
  const joined = !names.some((name) => name.includes("|"));
  const lines = [["picture", "caption", ...columns, "labels", ...names.map((name) => `p(${name})`), "problems"].map(cell)];
  for (const row of rows) {
    const chosen = row.answer ? choose(row.answer.probabilities, labels, emptyRows) : [];
    lines.push([
      cell(row.name ?? ""),
      cell(row.caption),
      ...columns.map((name) => row.numbers[name] ?? ""),
      cell(joined ? chosen.join("|") : JSON.stringify(chosen)),
      ...names.map((name) => (row.answer ? row.answer.probabilities[name] : "")),
      cell(row.problem),
    ]);
  }
  return "\ufeff" + lines.map((line) => line.join(",") + "\r\n").join("");
}

function cell(text) {
  const safe = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/.test(text) ? `'${text}` : text;
  return /[",\r\n']/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
