"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const buttons = [...table.querySelectorAll("thead button")];
  buttons.forEach((button, column) => {
    button.addEventListener("click", () => {
      const header = button.closest("th");
      const rising = header.getAttribute("aria-sort") === "descending"
        || (header.getAttribute("aria-sort") === null && header.dataset.first === "ascending");
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const sign = rising ? 1 : -1;
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const rows = [...body.rows].map((row) => [row, key(row)]);
      rows.sort(([, one], [, other]) => {
        if (one === "" || other === "") return (one === "") - (other === "");
        const [a, b] = [Number(one), Number(other)];
        if (!Number.isNaN(a) && !Number.isNaN(b)) return sign * (a - b);
        return sign * one.localeCompare(other);
      });
      body.append(...rows.map(([row]) => row));
    });
  });
}
