"use strict";
// The sample browser. Everything that a model or a data set wrote goes through textContent: it is never markup.
(() => {
  const source = document.getElementById("samples-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const at = (id) => document.getElementById(id);
  const list = at("list"), from = at("from"), to = at("to"), search = at("search"), more = at("more");
  const buttons = [...document.querySelectorAll("[data-outcome]")];
  const STEP = 8;
  let outcome = "all", shown = STEP;

  const element = (tag, text, style) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (style) made.className = style;
    return made;
  };
  const fits = (row) => {
    const before = row.a[from.selectedIndex][0], after = row.a[to.selectedIndex][0];
    if (outcome !== "all" && outcome !== `${before}${after}`) return false;
    const wanted = search.value.trim().toLowerCase();
    return !wanted || [row.id, row.q, row.ref, ...row.a.map((one) => one[1])].join("\n").toLowerCase().includes(wanted);
  };
  const card = (row) => {
    const box = element("article", undefined, "sample");
    box.append(element("h3", `Question ${row.id}`), element("pre", row.q), element("p", "Reference answer:", "soft"));
    box.append(element("pre", row.ref));
    const answers = element("div", undefined, "answers");
    row.a.forEach(([right, text], k) => {
      const answer = element("section", undefined, "answer");
      answer.append(element("h4", data.models[k], right ? "right" : "wrong"), element("pre", text || "(empty)"));
      answers.append(answer);
    });
    box.append(answers);
    return box;
  };
  const draw = () => {
    const found = data.rows.filter(fits);
    list.replaceChildren(...found.slice(0, shown).map(card));
    list.querySelectorAll("pre").forEach((one) => { if (one.scrollHeight > one.clientHeight) one.tabIndex = 0; });
    at("count").textContent = `${found.length} of ${data.rows.length} questions`;
    more.hidden = found.length <= shown;
    buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.outcome === outcome)));
  };
  const again = () => { shown = STEP; draw(); };
  buttons.forEach((one) => one.addEventListener("click", () => { outcome = one.dataset.outcome; again(); }));
  [from, to].forEach((one) => one.addEventListener("change", again));
  search.addEventListener("input", again);
  more.addEventListener("click", () => { shown += STEP; draw(); });
  draw();
})();
