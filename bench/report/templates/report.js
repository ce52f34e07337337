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

// A narrow screen shows the panels of a figure one below the other, small ones side by side: parts of one picture.
const narrow = matchMedia("screen and (max-width: 40rem)");
const stack = () => {
  if (!narrow.matches) return;
  for (const figure of document.querySelectorAll("figure[data-crops]:not(.stacked)")) {
    const image = figure.querySelector("img");
    const stacks = document.createElement("div");
    stacks.className = "stacks";
    stacks.setAttribute("role", "img");
    stacks.setAttribute("aria-label", image.alt);
    for (const crop of figure.dataset.crops.split(";")) {
      const [left, top, width, height] = crop.split(" ").map(Number);
      const part = document.createElement("div");
      const share = (start, size) => size < 1 ? `${(100 * start) / (1 - size)}%` : "0";
      const drawn = Math.round(image.getAttribute("width") * width);
      const columns = Math.max(1, Math.round(figure.clientWidth / (drawn + 10)));
      part.style.width = `min(${drawn}px, (100% - ${columns - 1} * 0.6rem) / ${columns})`;
      part.style.aspectRatio = `${image.getAttribute("width") * width} / ${image.getAttribute("height") * height}`;
      part.style.backgroundImage = `url("${image.src}")`;
      part.style.backgroundSize = `${100 / width}% ${100 / height}%`;
      part.style.backgroundPosition = `${share(left, width)} ${share(top, height)}`;
      stacks.append(part);
    }
    image.closest(".scroll").after(stacks);
    figure.classList.add("stacked");
  }
};
narrow.addEventListener("change", stack);
stack();

// Figures to take along: the drawing as it stands in the page, or as pixels for slides.
const save = (address, name) => {
  const link = document.createElement("a");
  [link.href, link.download] = [address, name];
  link.click();
};
for (const figure of document.querySelectorAll("figure[data-name]")) {
  const image = figure.querySelector("img");
  const { name } = figure.dataset;
  const offer = (title, action) => {
    const button = document.createElement("button");
    [button.type, button.textContent] = ["button", title];
    button.setAttribute("aria-label", `Download the figure ${name} as ${title}`);
    button.addEventListener("click", action);
    figure.querySelector("figcaption").append(button);
  };
  if (image.src.startsWith("data:image/svg")) offer("SVG", () => save(image.src, `${name}.svg`));
  offer("PNG", () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [3 * image.getAttribute("width"), 3 * image.getAttribute("height")];
    const pen = canvas.getContext("2d");
    pen.fillStyle = getComputedStyle(document.body).backgroundColor;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    save(canvas.toDataURL("image/png"), `${name}.png`);
  });
}

// What is meant for a paper is copied as plain text.
for (const text of document.querySelectorAll(".copied")) {
  const button = document.createElement("button");
  [button.type, button.className] = ["button", "copy"];
  const name = `Copy ${text.dataset.label[0].toLowerCase()}${text.dataset.label.slice(1)}`;
  button.textContent = name;
  button.addEventListener("click", async () => {
    const words = [...text.querySelectorAll("p, pre")].map((part) => part.textContent).join("\n\n");
    try {
      await navigator.clipboard.writeText(words);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected: copy it with the keyboard";
    }
    setTimeout(() => { button.textContent = name; }, 3000);
  });
  text.after(button);
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
