// Tables to work with: headings sort, and long tables get a row of fields that filter them. Without scripts they are
// plain tables. Nothing here reads or writes anything but the page.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];

  // A heading sorts by its column, again to turn round; rows without a value stay last.
  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const numeric = head.classList.contains("number");
      const value = (row) => numeric ? row.cells[index].dataset.sort : row.cells[index].textContent.replace("–", "");
      const compare = (a, b) => numeric ? a - b : a.localeCompare(b);
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return up ? compare(x, y) : compare(y, x);
      });
      body.append(...rows);
    });
  });

  // A row stays that holds every word of the field and what the lists choose; how many stay is announced.
  if (body.rows.length <= 8) continue;
  const bar = document.createElement("div");
  bar.className = "filter";
  const labelled = (text, control) => {
    const label = document.createElement("label");
    label.append(text, " ", control);
    bar.append(label);
    return control;
  };
  const field = labelled("Filter", document.createElement("input"));
  field.type = "search";
  field.placeholder = "every word must occur";
  const lists = [];
  heads.forEach((head, index) => {
    const values = [...new Set([...body.rows].map((row) => row.cells[index].textContent))];
    if (!head.hasAttribute("data-choose") || values.length < 2) return;
    const list = labelled(head.textContent, document.createElement("select"));
    list.append(new Option("all", ""), ...values.sort().map((value) => new Option(value, value)));
    lists.push([list, index]);
  });
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  status.setAttribute("aria-live", "polite");
  bar.append(status);
  table.parentElement.before(bar);
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      const kept = words.every((word) => text.includes(word))
        && lists.every(([list, index]) => list.value === "" || row.cells[index].textContent === list.value);
      row.hidden = !kept;
      shown += kept;
    }
    status.textContent = `${shown} of ${body.rows.length} rows`;
  };
  bar.addEventListener("input", filter);
  filter();
}

// paper cannot be unfolded: what is folded is printed, and folded again afterwards
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details:not([open])")];
  for (const folded of unfolded) folded.open = true;
});
addEventListener("afterprint", () => {
  for (const folded of unfolded) folded.open = false;
});
