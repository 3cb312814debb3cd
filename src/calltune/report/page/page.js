"use strict";
(() => {
  // Everything is written with textContent: a tool named <script> stays a name.
  const byId = (id) => document.getElementById(id);
  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  function theme() {
    const button = byId("theme"), root = document.documentElement;
    const prefers = window.matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme || (prefers.matches ? "dark" : "light")) === "dark";
    const show = () => {
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      show();
    });
    prefers.addEventListener("change", show);
    show();
  }

  function browser(data) {
    const HEIGHT = 64, SPARE = 6;
    const list = byId("list"), rows = byId("rows"), detail = byId("detail"), form = byId("filters");
    const field = Object.fromEntries(
      ["benchmark", "group", "checkpoint", "label", "flip", "tool", "text"].map((name) => [name, byId(`f-${name}`)]));
    const text = (number) => data.texts[number];
    let benchmark, found = [], chosen = -1, drawn = new Map();

    const options = (select, choices) => {
      select.replaceChildren(...choices.map(([value, label]) => {
        const option = make("option", "", label);
        option.value = value;
        return option;
      }));
    };
    const words = (row) => {
      // Made once, at the first search.
      if (!row.words) {
        const tools = row[2].map((number) => data.tools[number].join(" "));
        const answers = row[6].flatMap((answer) => [answer[1], answer[2], answer[3]].map(text));
        const choices = row[5].map((choice) => text(choice[1]));
        row.words = [row[0], ...row[1].map((m) => text(m[1])), ...tools, ...answers, ...choices].join("\n").toLowerCase();
      }
      return row.words;
    };

    function openBenchmark() {
      benchmark = data.benchmarks[Number(field.benchmark.value)];
      const names = benchmark.checkpoints;
      const groups = [...new Set(benchmark.rows.map((row) => row[3]))].map(text).sort();
      options(field.group, [["", "any"], ...groups.map((name) => [name, name])]);
      options(field.checkpoint, names.map((name, place) => [String(place), name]));
      field.checkpoint.value = String(names.length - 1);
      const flips = [];
      names.forEach((a, i) => names.forEach((b, j) => {
        if (i < j) flips.push([`${i},${j},win`, `${a} wrong → ${b} right`], [`${i},${j},loss`, `${a} right → ${b} wrong`]);
      }));
      options(field.flip, [["", "any"], ...flips]);
      const tools = [...new Set(benchmark.rows.flatMap((row) => row[2]))].map((n) => data.tools[n][0]);
      byId("tool-names").replaceChildren(...[...new Set(tools)].sort().slice(0, 500).map((name) => {
        const option = make("option");
        option.value = name;
        return option;
      }));
      openLabels();
    }
    function openLabels() {
      const place = Number(field.checkpoint.value);
      const labels = [...new Set(benchmark.rows.map((row) => row[6][place][1]))].map(text).sort();
      options(field.label, [["", "any"], ["=1", "right"], ["=0", "wrong"], ...labels.map((name) => [name, name])]);
    }
    function matches(row) {
      const place = Number(field.checkpoint.value), answer = row[6][place], label = field.label.value;
      if (field.group.value && text(row[3]) !== field.group.value) return false;
      if (label === "=1" && answer[0] !== 1) return false;
      if (label === "=0" && (answer[0] === 1 || answer[0] === null)) return false;
      if (label && label[0] !== "=" && text(answer[1]) !== label) return false;
      if (field.flip.value) {
        const [i, j, kind] = field.flip.value.split(","), before = row[6][i][0], after = row[6][j][0];
        if (before === null || after === null || (kind === "win" ? before >= after : before <= after)) return false;
      }
      const tool = field.tool.value.trim().toLowerCase();
      if (tool && !row[2].some((number) => data.tools[number][0].toLowerCase().includes(tool))) return false;
      const wanted = field.text.value.trim().toLowerCase();
      return !wanted || words(row).includes(wanted);
    }
    function filter() {
      found = benchmark.rows.filter(matches);
      chosen = -1;
      list.removeAttribute("aria-activedescendant");
      list.scrollTop = 0;
      rows.style.height = `${found.length * HEIGHT}px`;
      rows.replaceChildren();
      drawn = new Map();
      const all = benchmark.rows.length.toLocaleString("en");
      byId("matches").textContent = `${found.length.toLocaleString("en")} of ${all} questions`;
      detail.replaceChildren(make("p", "intro", found.length
        ? "Choose a question to see its prompt, its tools and every checkpoint's answer."
        : "No question is like that; clear a filter."));
      draw();
    }
    // Only the rows in sight exist.
    function draw() {
      const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - SPARE);
      const last = Math.min(found.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + SPARE);
      for (const [place, element] of drawn) {
        if (place < first || place >= last) {
          element.remove();
          drawn.delete(place);
        }
      }
      for (let place = first; place < last; place++) {
        if (!drawn.has(place)) {
          const element = listRow(place);
          drawn.set(place, element);
          rows.append(element);
        }
      }
    }
    function listRow(place) {
      const row = found[place], element = make("div", "row"), marks = make("p", "marks");
      element.id = `row-${place}`;
      element.setAttribute("role", "option");
      element.setAttribute("aria-selected", String(place === chosen));
      element.setAttribute("aria-setsize", String(found.length));
      element.setAttribute("aria-posinset", String(place + 1));
      element.style.transform = `translateY(${place * HEIGHT}px)`;
      const asked = make("p", "", text(row[1].at(-1)[1]).slice(0, 200));
      asked.dir = "auto";
      marks.append(make("span", "", text(row[3])));
      benchmark.checkpoints.forEach((name, number) => {
        const value = row[6][number][0], word = value === null ? "not scored" : value === 1 ? "right" : "wrong";
        const mark = make("span", tone(value), sign(value));
        mark.append(make("span", "hidden", word));
        marks.append(number ? "   " : "  ·  ", mark, ` ${name}`);
      });
      element.append(asked, marks);
      element.addEventListener("click", () => choose(place, true));
      return element;
    }
    const tone = (value) => (value === null ? "none" : value === 1 ? "yes" : "no");
    const sign = (value) => (value === null ? "–" : value === 1 ? "✓" : "✗");

    function choose(place, open) {
      chosen = Math.max(0, Math.min(found.length - 1, place));
      const top = chosen * HEIGHT;
      if (top < list.scrollTop) list.scrollTop = top;
      if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
      draw();
      for (const [number, element] of drawn) element.setAttribute("aria-selected", String(number === chosen));
      list.setAttribute("aria-activedescendant", `row-${chosen}`);
      showDetail(found[chosen]);
      if (open && window.matchMedia("(max-width: 46rem)").matches) detail.scrollIntoView();
    }
    function block(tag, name, content) {
      const element = make(tag, name, content);
      element.dir = "auto";
      return element;
    }
    function showDetail(row) {
      const back = make("button", "back", "Back to the list");
      back.type = "button";
      back.addEventListener("click", () => { list.scrollIntoView(); list.focus({ preventScroll: true }); });
      const parts = [back, make("h3", "", "Prompt")];
      for (const [role, number] of row[1]) {
        const said = block("div", "say", text(number));
        said.prepend(make("b", "", role));
        parts.push(said);
      }
      parts.push(make("h3", "", row[2].length === 1 ? "1 tool" : `${row[2].length || "No"} tools`));
      for (const number of row[2]) parts.push(toolBlock(data.tools[number]));
      parts.push(make("h3", "", "Right answer"), block("pre", "say", text(row[4])));
      if (row[5].length) parts.push(make("h3", "", "Options, log-likelihood per character"), optionTable(row));
      parts.push(make("h3", "", "Answers"));
      benchmark.checkpoints.forEach((name, number) => parts.push(answerBlock(name, row[6][number], row[5].length > 0)));
      parts.push(make("p", "intro", row[0]));
      detail.replaceChildren(...parts);
      detail.scrollTop = 0;
    }
    function toolBlock([name, description, parameters]) {
      const element = make("details", "tool"), summary = make("summary");
      summary.append(make("code", "", name));
      element.append(summary, block("p", "", description), block("pre", "", JSON.stringify(JSON.parse(parameters), null, 1)));
      return element;
    }
    function optionTable(row) {
      const table = make("table", "options"), head = make("tr"), body = make("tbody"), top = make("thead");
      for (const name of ["Option", ...benchmark.checkpoints]) {
        const cell = make("th", "", name);
        cell.scope = "col";
        head.append(cell);
      }
      row[5].forEach(([label, said], place) => {
        const line = make("tr"), name = make("th");
        name.scope = "row";
        name.append(make("code", "", text(label)), block("pre", "", text(said)));
        line.append(name);
        for (const answer of row[6]) {
          const value = answer[4][place];
          line.append(make("td", text(answer[1]) === text(label) ? "won" : "", value === undefined ? "–" : value.toFixed(3)));
        }
        body.append(line);
      });
      top.append(head);
      table.append(top, body);
      const wide = make("div", "wide");
      wide.append(table);
      return wide;
    }
    function answerBlock(name, [value, label, reason, said], isChoice) {
      const element = make("div", `answer ${tone(value)}`), verdict = make("p");
      const word = value === null ? "not scored" : value === 1 ? "right" : "wrong";
      verdict.append(make("b", "", name), " ", make("span", tone(value), `${sign(value)} ${word}`), " ", make("code", "", text(label)));
      element.append(verdict);
      if (text(said)) element.append(block("pre", "", text(said)));
      else if (!isChoice) element.append(make("p", "reason", "nothing was written"));
      if (text(reason)) element.append(block("p", "reason", text(reason)));
      return element;
    }

    options(field.benchmark, data.benchmarks.map((each, place) => [String(place), each.title]));
    form.hidden = byId("browser").hidden = false;
    let waiting = 0;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (event.target === field.benchmark) openBenchmark();
      if (event.target === field.checkpoint) openLabels();
      clearTimeout(waiting);
      waiting = setTimeout(filter, event.target.tagName === "INPUT" ? 120 : 0);
    });
    form.addEventListener("reset", () => setTimeout(() => { openBenchmark(); filter(); }));
    list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    list.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.floor(list.clientHeight / HEIGHT) - 1);
      const to = { ArrowDown: chosen + 1, ArrowUp: chosen - 1, PageDown: chosen + page, PageUp: chosen - page,
        Home: 0, End: found.length - 1 }[event.key];
      if (event.key === "Enter" && chosen >= 0) detail.focus();
      if (to === undefined || !found.length) return;
      event.preventDefault();
      choose(to, false);
    });
    window.addEventListener("resize", draw);
    openBenchmark();
    filter();
  }

  theme();
  const data = byId("example-data");
  if (data) browser(JSON.parse(data.textContent));
})();
