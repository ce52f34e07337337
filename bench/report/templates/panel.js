// The threshold panel. It reads the scores from the page once, sorts each class once, and then finds every count by
// bisection. Nothing here reads or writes anything but the page.
{
  const root = document.getElementById("threshold-panel");
  const data = JSON.parse(document.getElementById("threshold-data").textContent);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const slider = document.getElementById("threshold-slider");
  const field = document.getElementById("threshold-number");
  const prevalence = document.getElementById("threshold-prevalence");
  const SHOWN = 12;
  const BINS = 40;
  const PERCENTS = [0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90];
  const ABOUT = {
    val: "Choose here: these images have served to choose the model already. Expect a little less on new patients.",
    test: "Look, but do not choose: picked by what you see here, a threshold would look better than it is on new patients.",
  };
  const CELLS = {
    tp: ["true positives", "nearest to the threshold first"],
    fn: ["false negatives", "the most wrong first"],
    fp: ["false positives", "the most wrong first"],
    tn: ["true negatives", "nearest to the threshold first"],
  };
  const state = { split: data.splits.val ? "val" : "test", side: 0, code: 0, value: 0, cell: "", percent: 10 };

  // Numbers as the rest of the page writes them: exact halves go to the even digit.
  const fixed = (value, digits) => {
    const half = value * 2 ** (digits + 1);
    if (!Number.isInteger(half) || half % 2 === 0) return value.toFixed(digits);
    const low = Math.floor(value * 10 ** digits);
    return ((low + (low % 2)) / 10 ** digits).toFixed(digits);
  };
  const score = (value) => fixed(value, 3);
  const percent = (value) => `${fixed(100 * value, 1)}\u00a0%`;
  const count = (value) => value.toLocaleString("en-GB");
  const counted = (value, one, more = `${one}s`) => `${count(value)} ${value === 1 ? one : more}`;
  const wilson = (hits, of) => {
    const [z, share] = [data.z, hits / of];
    const middle = (share + z * z / (2 * of)) / (1 + z * z / of);
    const reach = z * Math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of);
    return [Math.max(0, middle - reach), Math.min(1, middle + reach)];
  };
  const isolated = (text) => Object.assign(document.createElement("bdi"), { textContent: text });
  const made = (tag, name, ...content) => {
    const found = document.createElement(tag);
    if (name) found.className = name;
    found.append(...content);
    return found;
  };

  // Names are written without what they have in common with the start of the one before.
  for (const split of Object.values(data.splits)) {
    for (const key of ["names", "patients"]) {
      let before = "";
      split[key] = split[key].map((text) => before = before.slice(0, parseInt(text[0], 36)) + text.slice(1));
    }
  }

  // Of a class and of the rest the images in order, the most wrong first, with their scores; and how many in each bin.
  const views = new Map();
  const view = () => {
    const key = `${state.split} ${state.side}`;
    if (!views.has(key)) {
      const split = data.splits[state.split];
      const codes = split.scores[state.side];
      const sorted = (positive, sign) => {
        const rows = codes.map((_, row) => row).filter((row) => (split.labels[row] === state.side) === positive);
        const known = (row) => row in split.pictures;
        rows.sort((a, b) => sign * (codes[a] - codes[b]) || known(b) - known(a) || a - b);
        const bins = new Array(BINS).fill(0);
        for (const row of rows) bins[Math.min(BINS - 1, Math.floor(codes[row] * BINS / data.units))] += 1;
        return { rows, codes: Float64Array.from(rows, (row) => sign * codes[row]), bins };
      };
      views.set(key, { positive: sorted(true, 1), rest: sorted(false, -1) });
    }
    return views.get(key);
  };
  const below = (codes, limit, inclusive) => { // how many of the ascending codes are below the limit
    let [low, high] = [0, codes.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (codes[middle] < limit || (inclusive && codes[middle] === limit)) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const cells = () => {
    const { positive, rest } = view();
    const fn = below(positive.codes, state.code, false);
    const fp = below(rest.codes, -state.code, true);
    return { tp: positive.rows.length - fn, fn, fp, tn: rest.rows.length - fp };
  };

  const thresholds = () => data.sides[state.side].thresholds;
  const named = () => Object.keys(thresholds()).find((key) => thresholds()[key][1] === state.value) ?? "";

  // What depends on the split and the class alone.
  const settle = () => {
    const side = data.sides[state.side];
    const { positive, rest } = view();
    for (const button of root.querySelectorAll("[data-split]"))
      button.setAttribute("aria-pressed", button.dataset.split === state.split);
    for (const name of ["called", "of"]) part(name).textContent = side.name;
    part("advice").textContent = ABOUT[state.split];
    part("positive").replaceChildren(isolated(side.name), `, ${counted(positive.rows.length, "image")}, upwards`);
    const other = side.rest ? [isolated(side.rest)] : ["Not ", isolated(side.name)];
    const copy = () => other.map((one) => one.cloneNode?.(true) ?? one);
    part("rest").replaceChildren(...copy(), `, ${counted(rest.rows.length, "image")}, downwards`);
    part("row-positive").replaceChildren(isolated(side.name));
    part("row-rest").replaceChildren(...copy());
    part("column-positive").replaceChildren("Called ", isolated(side.name));
    part("column-rest").replaceChildren(...(side.rest ? ["Called ", ...copy()] : ["Not called ", isolated(side.name)]));
    const labels = { frozen: (value) => `frozen, ${score(value)}`, 0.5: () => "0.5" };
    labels.sensitive = (value) => `sensitivity ≥ 95\u00a0% on validation, ${score(value)}`;
    for (const button of root.querySelectorAll("[data-threshold]")) {
      const found = side.thresholds[button.dataset.threshold];
      button.hidden = !found;
      if (found) button.textContent = labels[button.dataset.threshold](found[1]);
    }
    const all = positive.rows.length + rest.rows.length;
    part("observed").textContent = `as here, ${percent(positive.rows.length / all)}`;
    drawBars(positive, rest);
    draw();
  };

  const drawn = (tag, name, values) => {
    const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
    found.setAttribute("class", name);
    for (const [key, value] of Object.entries(values)) found.setAttribute(key, value);
    return found;
  };
  const drawBars = (positive, rest) => {
    const most = Math.sqrt(Math.max(1, ...positive.bins, ...rest.bins));
    const bars = [[positive, "positive", true], [rest, "rest", false]].flatMap(([one, name, up]) => one.bins.map((n, place) => {
      const height = 48 * Math.sqrt(n) / most;
      const width = 100 / BINS;
      return drawn("rect", name, { x: place * width + 0.1 * width, y: up ? 50 - height : 50, width: 0.8 * width, height });
    }));
    const frozen = thresholds().frozen?.[1];
    const lines = [drawn("rect", "called", { y: 0, height: 100 }), ...bars, drawn("line", "", { x1: 0, x2: 100, y1: 50, y2: 50 })];
    if (frozen !== undefined) lines.push(drawn("line", "frozen", { x1: 100 * frozen, x2: 100 * frozen, y1: 0, y2: 100 }));
    part("histogram").replaceChildren(...lines, drawn("line", "now", { y1: 0, y2: 100 }));
  };

  // What depends on the threshold.
  const draw = () => {
    const found = cells();
    const { tp, fn, fp, tn } = found;
    const side = data.sides[state.side];
    const name = named();
    slider.value = state.value;
    slider.setAttribute("aria-valuetext", `${score(state.value)}${name === "frozen" ? ", frozen" : ""}`);
    if (document.activeElement !== field) field.value = Number(state.value.toFixed(4));
    for (const button of root.querySelectorAll("[data-threshold]"))
      button.setAttribute("aria-pressed", button.dataset.threshold === name);
    const now = part("histogram").querySelector(".now");
    const shade = part("histogram").querySelector(".called");
    for (const end of ["x1", "x2"]) now.setAttribute(end, 100 * state.value);
    shade.setAttribute("x", 100 * state.value);
    shade.setAttribute("width", 100 * (1 - state.value));
    for (const button of root.querySelectorAll("[data-cell]")) {
      const key = button.dataset.cell;
      const of = key === "tp" || key === "fn" ? tp + fn : fp + tn;
      const share = of ? `${percent(found[key] / of)} of the row` : "no image";
      button.replaceChildren(made("b", "", count(found[key])), made("span", "", CELLS[key][0]), made("span", "", share));
      button.setAttribute("aria-expanded", key === state.cell);
    }
    const measured = {
      sensitivity: [tp, tp + fn], specificity: [tn, tn + fp], ppv: [tp, tp + fp], npv: [tn, tn + fn], accuracy: [tp + tn, tp + fn + fp + tn],
    };
    drawMeasures(measured, name);
    const told = (key) => (measured[key][1] ? score(measured[key][0] / measured[key][1]) : "not known");
    const words = `Sensitivity ${told("sensitivity")}, specificity ${told("specificity")}: ${counted(fn, "image")} missed, `
      + counted(fp, "false alarm");
    part("readout").textContent = `${words}.`;
    part("histogram").setAttribute("aria-label", `Histogram of the probability of ${side.name} by class. At a threshold of `
      + `${score(state.value)}, ${tp} of ${tp + fn} ${side.name} and ${fp} of ${fp + tn} others are called.`);
    announce(`${state.split === "val" ? "Validation" : "Internal test"}, threshold ${score(state.value)}. ${words}.`);
    drawNatural(measured);
    drawImages(found);
  };

  let waiting = 0;
  let silent = true; // until somebody works the panel
  const announce = (words) => {
    clearTimeout(waiting);
    if (!silent) waiting = setTimeout(() => { part("status").textContent = words; }, 400);
  };

  const drawMeasures = (measured, name) => {
    const split = data.splits[state.split];
    const bounds = split.bounds[state.side]?.[name];
    Object.entries(measured).forEach(([key, [hits, of]], place) => {
      const [images, value, interval] = root.querySelectorAll(`[data-measure="${key}"] td`);
      const ends = bounds ? bounds[place] : of ? wilson(hits, of) : null;
      images.textContent = `${count(hits)} / ${count(of)}`;
      value.textContent = of ? score(hits / of) : "–";
      interval.textContent = ends ? `${score(ends[0])}–${score(ends[1])}` : "–";
    });
    const several = "Some patients have several of these images.";
    let about = "Wilson’s intervals.";
    if (bounds) about = `${several} The intervals are by patients, as in the table of operating points.`;
    else if (split.several) about = `${several} Wilson’s intervals take images as independent, and are too narrow here.`;
    part("about").textContent = `${about} PPV and NPV hold at the prevalence of these images.`;
  };

  const drawNatural = ({ sensitivity: [tp, sick], specificity: [tn, well] }) => {
    const name = data.sides[state.side].name;
    const share = state.percent === null ? sick / (sick + well) : PERCENTS[state.percent] / 100;
    const observed = part("observed");
    observed.setAttribute("aria-pressed", state.percent === null);
    const shown = state.percent === null ? percent(share) : `${PERCENTS[state.percent]}\u00a0%`;
    part("prevalence").textContent = shown;
    prevalence.setAttribute("aria-valuetext", shown);
    if (!sick || !well) {
      part("natural").textContent = "These images are all of one side, so sensitivity or specificity is not known.";
      return;
    }
    const [found, cleared] = [tp / sick, tn / well];
    const all = share < 0.01 ? 10000 : 1000;
    const ill = Math.round(all * share);
    const rightly = Math.round(ill * found);
    const wrongly = Math.round((all - ill) * (1 - cleared));
    const [hit, alarm] = [share * found, (1 - share) * (1 - cleared)];
    const [clear, miss] = [(1 - share) * cleared, share * (1 - found)];
    const told = (part, of) => (of > 0 ? percent(part / of) : "–");
    part("natural").replaceChildren(
      `Of ${count(all)} such patients with one image each, ${count(ill)} are of the class `, isolated(name),
      `. The model calls ${count(rightly + wrongly)}: ${count(rightly)} rightly and ${count(wrongly)} wrongly; it misses `
      + `${count(ill - rightly)}. A call is right in ${told(hit, hit + alarm)} of the cases (PPV), and an image that is not called is `
      + `rightly cleared in ${told(clear, clear + miss)} (NPV), if sensitivity and specificity are the same there.`,
    );
  };

  const drawImages = (found) => {
    const box = part("images");
    box.hidden = !state.cell;
    if (!state.cell) return box.replaceChildren();
    const split = data.splits[state.split];
    const { positive, rest } = view();
    const rows = {
      fn: positive.rows.slice(0, found.fn), tp: positive.rows.slice(found.fn), fp: rest.rows.slice(0, found.fp), tn: rest.rows.slice(found.fp),
    }[state.cell].slice(0, SHOWN);
    const [words, order] = CELLS[state.cell];
    const all = found[state.cell];
    const some = all > rows.length ? `${rows.length} of ${counted(all, "image")}` : counted(all, "image");
    const title = made("p", "", made("b", "", `${words[0].toUpperCase()}${words.slice(1)}`), all ? `: ${some}, ${order}.` : ": no image.");
    const list = made("ul", "cases", ...rows.map((row) => shownCase(split, row)));
    box.replaceChildren(title, list);
  };
  const pictures = new Map(); // made once, so that they do not flicker while the slider moves
  const picture = (content, alt) => {
    if (!pictures.has(content)) {
      const image = new Image();
      image.src = `data:image/jpeg;base64,${content}`;
      pictures.set(content, image);
    }
    return Object.assign(pictures.get(content), { alt });
  };
  const shownCase = (split, row) => {
    const name = split.names[row] ?? `image ${count(row + 1)} of ${split.file}`;
    const value = score(Math.floor(Math.floor(split.scores[state.side][row]) / 10 + 0.5) / 1000);
    const item = made("li", "");
    if (split.pictures[row]) {
      item.append(picture(split.pictures[row], `${name}, probability ${value}`));
    } else if (Object.keys(split.pictures).length) {
      item.append(made("span", "none", "no picture kept"));
    }
    item.append(made("span", "", made("b", "", value)), made("span", "", isolated(name)));
    if (split.patients[row]) item.append(made("span", "quiet", "patient ", isolated(split.patients[row])));
    if (data.sides.length > 1 && data.sides[split.labels[row]])
      item.append(made("span", "quiet", "is ", isolated(data.sides[split.labels[row]].name)));
    return item;
  };

  const worked = (act) => (event) => { silent = false; act(event); };
  const choose = (key) => { [state.code, state.value] = thresholds()[key]; };
  const move = (value) => {
    if (!(value >= 0 && value <= 1)) return;
    state.code = Math.round(value * data.units);
    state.value = state.code / data.units;
    draw();
  };
  slider.addEventListener("input", worked(() => move(slider.valueAsNumber)));
  field.addEventListener("input", worked(() => move(field.valueAsNumber)));
  field.addEventListener("blur", () => draw());
  prevalence.addEventListener("input", worked(() => { state.percent = prevalence.valueAsNumber; draw(); }));
  part("observed").addEventListener("click", worked(() => { state.percent = null; draw(); }));
  root.addEventListener("click", worked((event) => {
    const { split, threshold, cell } = event.target.closest("button")?.dataset ?? {};
    if (split) { state.split = split; settle(); }
    if (threshold) { choose(threshold); draw(); }
    if (cell) { state.cell = state.cell === cell ? "" : cell; draw(); }
  }));
  part("side")?.addEventListener("change", worked((event) => {
    state.side = Number(event.target.value);
    choose("frozen" in thresholds() ? "frozen" : "0.5");
    settle();
  }));

  prevalence.max = PERCENTS.length - 1;
  state.percent = PERCENTS.indexOf(10);
  prevalence.value = state.percent;
  choose("frozen" in thresholds() ? "frozen" : "0.5");
  root.classList.add("on");
  root.querySelector(".live").hidden = false;
  settle();
}
