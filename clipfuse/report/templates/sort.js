"use strict";
// Headings become buttons that sort their table. Values are read, never written as markup.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.v;
    return value === undefined ? cell.textContent.trim() : Number(value);
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) {
      return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
    }
    return typeof a === "number" ? -1 : 1;
  };
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const known = heading.getAttribute("aria-sort");
      const numbers = [...table.tBodies].some((body) => [...body.rows].some((row) => row.cells[column].dataset.v !== undefined));
      const down = known ? known === "ascending" : numbers;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].map((row) => [key(row, column), row]);
        // what has no number stays at the end, whichever way numbers go
        rows.sort(([a], [b]) => (typeof a === typeof b && down ? compare(b, a) : compare(a, b)));
        body.append(...rows.map(([, row]) => row));
      }
    });
  });
}
