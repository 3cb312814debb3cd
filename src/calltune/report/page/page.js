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
      ["benchmark", "group", "checkpoint", "label", "mistake", "flip", "tool", "text"].map((name) => [name, byId(`f-${name}`)]));
    // What stands in the address, by the name of its field; `at` is the chosen question.
    const PLACES = { benchmark: "benchmark", right: "group", by: "checkpoint", gave: "label", mistake: "mistake",
      change: "flip", tool: "tool", text: "text" };
    const ADDRESS = "#examples?";
    const VERDICTS = {
      "=right": (value) => value === 1,
      "=wrong": (value) => value !== null && value !== 1,
      "=wrong but whole": (value, label) => value !== null && value !== 1 && label !== "malformed" && label !== "truncated",
      "=not scored": (value) => value === null,
    };
    const phone = window.matchMedia("(max-width: 46rem)");
    const text = (number) => data.texts[number];
    const kinds = (answer) => (answer[4] < 0 ? [] : mistakesOf(answer[4]).map((mistake) => mistake[1]));
    const parsed = new Map();
    const mistakesOf = (number) => {
      if (!parsed.has(number)) parsed.set(number, JSON.parse(text(number)));
      return parsed.get(number);
    };
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
      benchmark = data.benchmarks.find((each) => each.title === field.benchmark.value);
      const names = benchmark.checkpoints;
      const groups = [...new Set(benchmark.rows.map((row) => row[3]))].map(text).sort();
      options(field.group, [["", "any"], ...groups.map((name) => [name, name])]);
      options(field.checkpoint, names.map((name) => [name, name]));
      field.checkpoint.value = names.at(-1);
      const flips = [];
      names.forEach((a, i) => names.forEach((b, j) => {
        if (i < j) flips.push([`${a}>${b}>win`, `${a} wrong → ${b} right`], [`${a}>${b}>loss`, `${a} right → ${b} wrong`]);
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
      const place = benchmark.checkpoints.indexOf(field.checkpoint.value), before = field.mistake.value;
      const labels = [...new Set(benchmark.rows.map((row) => row[6][place][1]))].map(text).sort();
      options(field.label, [["", "any"], ...Object.keys(VERDICTS).map((name) => [name, name.slice(1)]),
        ...labels.map((name) => [name, name])]);
      const made = benchmark.mistakes;
      options(field.mistake, [["", "any"], ...made.map((name) => [name, name])]);
      field.mistake.parentElement.hidden = !made.length;
      if (made.includes(before)) field.mistake.value = before;
    }
    // The change of one label into another comes by a link alone, so its choice is made when it is needed.
    function openFlip(value) {
      const [a, b, from, to] = value.split(">"), known = [...field.flip.options].some((option) => option.value === value);
      if (!known && to !== undefined && [a, b].every((name) => benchmark.checkpoints.includes(name))) {
        const option = make("option", "", `${a} ${from} → ${b} ${to}`);
        option.value = value;
        field.flip.append(option);
      }
      field.flip.value = value;
      if (field.flip.selectedIndex < 0) field.flip.value = "";
    }
    function flipped(row, value) {
      const [a, b, from, to] = value.split(">");
      const [before, after] = [a, b].map((name) => row[6][benchmark.checkpoints.indexOf(name)]);
      if (to !== undefined) return text(before[1]) === from && text(after[1]) === to;
      if (before[0] === null || after[0] === null) return false;
      return from === "win" ? before[0] < after[0] : before[0] > after[0];
    }
    function offers(row, wanted) {
      const exact = /^"(.*)"$/.exec(wanted), names = row[2].map((number) => data.tools[number][0].toLowerCase());
      if (exact && exact[1] === "(no tool)" && !names.length) return true;
      return exact ? names.includes(exact[1]) : names.some((name) => name.includes(wanted));
    }
    function matches(row) {
      const answer = row[6][benchmark.checkpoints.indexOf(field.checkpoint.value)], label = field.label.value;
      if (field.group.value && text(row[3]) !== field.group.value) return false;
      if (label && !(label in VERDICTS ? VERDICTS[label](answer[0], text(answer[1])) : text(answer[1]) === label)) return false;
      if (field.mistake.value && !kinds(answer).includes(field.mistake.value)) return false;
      if (field.flip.value && !flipped(row, field.flip.value)) return false;
      const tool = field.tool.value.trim().toLowerCase();
      if (tool && !offers(row, tool)) return false;
      const wanted = field.text.value.trim().toLowerCase();
      return !wanted || words(row).includes(wanted);
    }
    function filter() {
      found = benchmark.rows.filter(matches);
      writeAddress();
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
      if (open && phone.matches) read();
      writeAddress();
    }
    // On a phone the chosen question is a screen of its own, and the browser's own "back" leads to the list.
    let entered = false;
    function read() {
      if (!document.body.classList.contains("reading")) {
        history.pushState(null, "", address());
        entered = true;
      }
      document.body.classList.add("reading");
      detail.focus({ preventScroll: true });
    }
    function leave() {
      if (entered) history.back();
      else close();
    }
    function close() {
      entered = false;
      document.body.classList.remove("reading");
      list.focus({ preventScroll: true });
    }

    function address(withChosen = true) {
      const last = benchmark.checkpoints.at(-1), told = new URLSearchParams();
      for (const [name, key] of Object.entries(PLACES)) {
        const value = field[key].value;
        if (value && !(key === "checkpoint" && value === last)) told.set(name, value);
      }
      if (chosen >= 0 && withChosen) told.set("at", found[chosen][0]);
      const plain = told.size === 1 && field.benchmark.selectedIndex === 0;
      return plain ? (location.hash.startsWith(ADDRESS) ? "#examples" : location.hash || "#") : ADDRESS + told;
    }
    // Browsers allow a page only so many changes of its address in a while.
    let writing = 0;
    function writeAddress() {
      clearTimeout(writing);
      const before = location.hash;
      writing = setTimeout(() => {
        // A link that was followed meanwhile is about to be read; it must not be written over.
        if (location.hash === before && address() !== (before || "#")) history.replaceState(null, "", address());
      }, 200);
    }
    function readAddress() {
      if (!location.hash.startsWith(ADDRESS)) {
        if (document.body.classList.contains("reading")) close();
        return false;
      }
      clearTimeout(writing);
      const told = new URLSearchParams(location.hash.slice(ADDRESS.length));
      // Back from a question to the list that it was chosen in: the list stays where it is.
      if (document.body.classList.contains("reading") && !told.has("at") && location.hash === address(false)) {
        close();
        return true;
      }
      const set = (key, value) => {
        field[key].value = value;
        if (field[key].tagName === "SELECT" && field[key].selectedIndex < 0) field[key].selectedIndex = 0;
      };
      set("benchmark", told.get("benchmark") ?? data.benchmarks[0].title);
      openBenchmark();
      if (benchmark.checkpoints.includes(told.get("by"))) field.checkpoint.value = told.get("by");
      openLabels();
      for (const name of ["right", "gave", "mistake", "tool", "text"]) set(PLACES[name], told.get(name) ?? "");
      openFlip(told.get("change") ?? "");
      filter();
      const at = told.has("at") ? found.findIndex((row) => row[0] === told.get("at")) : -1;
      if (at >= 0) {
        choose(at, false);
        if (phone.matches) document.body.classList.add("reading");
      } else if (document.body.classList.contains("reading")) close();
      return true;
    }
    function block(tag, name, content) {
      const element = make(tag, name, content);
      element.dir = "auto";
      return element;
    }
    function showDetail(row) {
      const parts = [steps(), make("h3", "", "Prompt")];
      for (const [role, number] of row[1]) {
        const said = block("div", "say", text(number));
        said.prepend(make("b", "", role));
        parts.push(said);
      }
      if (row[7] >= 0 || row[6].some((answer) => kinds(answer).length)) parts.push(make("h3", "", "Calls"), callTable(row));
      if (row[7] < 0) parts.push(make("h3", "", "Right answer"), block("pre", "say", text(row[4])));
      const answers = make("div", "answers");
      benchmark.checkpoints.forEach((name, number) => answers.append(answerBlock(name, row[6][number], row[5].length > 0)));
      parts.push(make("h3", "", "Answers"), answers);
      if (row[5].length) parts.push(make("h3", "", "Options, log-likelihood per character"), optionTable(row));
      parts.push(make("h3", "", row[2].length === 1 ? "1 tool" : `${row[2].length || "No"} tools`));
      for (const number of row[2]) parts.push(toolBlock(data.tools[number]));
      parts.push(make("p", "intro", row[0]));
      detail.replaceChildren(...parts);
      detail.scrollTop = 0;
    }
    function steps() {
      const element = make("div", "steps");
      const button = (name, words, act, off) => {
        const made = make("button", name, words);
        made.type = "button";
        made.disabled = Boolean(off);
        made.addEventListener("click", act);
        element.append(made);
      };
      button("back", "Back to the list", leave);
      button("previous", "‹ Previous", () => choose(chosen - 1, false), chosen === 0);
      button("next", "Next ›", () => choose(chosen + 1, false), chosen === found.length - 1);
      element.append(make("span", "", `${(chosen + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}`));
      return element;
    }
    // The call that is due beside every checkpoint's, argument by argument.
    function callTable(row) {
      const due = row[7] < 0 ? null : mistakesOf(row[7]), every = row[6].map((answer) => (answer[4] < 0 ? null : mistakesOf(answer[4])));
      const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
      const table = make("table", "calls"), top = make("thead"), head = make("tr"), body = make("tbody");
      for (const name of ["", "expected", ...benchmark.checkpoints]) {
        const cell = make(name ? "th" : "td", "", name);
        if (name) cell.scope = "col";
        head.append(cell);
      }
      const line = (name, expected, cells) => {
        const element = make("tr"), title = make("th", "", name);
        title.scope = "row";
        element.append(title, block("td", "", expected));
        for (const [value, ...tags] of cells) {
          const cell = block("td", tags.length ? "off" : "", value);
          tags.forEach((tag) => cell.append(make("span", "tag", tag)));
          element.append(cell);
        }
        body.append(element);
      };
      line("tool", due ? due.name : "no call", every.map((all) => {
        if (!all) return ["not read"];
        const whole = all.filter((mistake) => mistake[0] === "");
        const first = whole.find((mistake) => mistake[1] !== "extra");
        const name = first ? first[3] ?? "no call" : due ? due.name : "no call";
        return [name, ...whole.map((m) => (m[1] === "extra" ? `extra: ${m[3]}` : m === first ? m[1] : `${m[1]}: ${m[3]}`))];
      }));
      const given = due ? due.arguments : {};
      const names = new Set([...Object.keys(given), ...every.flatMap((all) => (all ?? []).map((m) => m[0]))]);
      names.delete("");
      for (const name of names) {
        line(name, name in given ? shown(given[name]) : "–", every.map((all) => {
          if (!all || all.some((m) => m[0] === "" && m[1] !== "extra")) return ["–"];
          const mistake = all.find((m) => m[0] === name);
          if (!mistake) return [name in given ? shown(given[name]) : "–"];
          return [mistake[1] === "missing" ? "–" : shown(mistake[3]), mistake[1]];
        }));
      }
      top.append(head);
      table.append(top, body);
      const wide = make("div", "wide");
      wide.append(table);
      return wide;
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
          const value = answer[5][place];
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
    function answerBlock(name, answer, isChoice) {
      const [value, label, reason, said] = answer, wrong = [...new Set(kinds(answer))];
      const element = make("div", `answer ${tone(value)}`), verdict = make("p");
      const word = value === null ? "not scored" : value === 1 ? "right" : "wrong";
      verdict.append(make("b", "", name), " ", make("span", tone(value), `${sign(value)} ${word}`), " ", make("code", "", text(label)));
      if (wrong.length) verdict.append(" ", make("span", "no", `its call: ${wrong.join(", ")}`));
      element.append(verdict);
      if (text(said)) element.append(block("pre", "", text(said)));
      else if (!isChoice) element.append(make("p", "reason", "nothing was written"));
      if (text(reason)) element.append(block("p", "reason", text(reason)));
      return element;
    }

    options(field.benchmark, data.benchmarks.map((each) => [each.title, each.title]));
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
    detail.addEventListener("keydown", (event) => {
      const to = { ArrowRight: chosen + 1, ArrowLeft: chosen - 1 }[event.key];
      if (event.key === "Escape") {
        event.preventDefault();
        if (document.body.classList.contains("reading")) leave();
        else list.focus();
      }
      if (to === undefined || chosen < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      choose(to, false);
      detail.focus({ preventScroll: true });
    });
    window.addEventListener("resize", draw);
    window.addEventListener("hashchange", () => {
      if (readAddress() && !document.body.classList.contains("reading")) byId("examples").scrollIntoView({ behavior: "instant" });
    });
    openBenchmark();
    if (readAddress()) byId("examples").scrollIntoView({ behavior: "instant" });
    else filter();
  }

  theme();
  const data = byId("example-data");
  if (data) browser(JSON.parse(data.textContent));
})();
