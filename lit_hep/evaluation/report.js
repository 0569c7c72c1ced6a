"use strict";
(() => {
  window.addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });

  const source = document.getElementById("counts");
  if (!source) return;
  const counts = JSON.parse(source.textContent);
  const { threshold, fn, tn, signal, background, chosen, best } = counts;
  const last = threshold.length - 1;
  const byId = (id) => document.getElementById(id);
  const slider = byId("threshold");

  const ratio = (part, whole) => (whole ? part / whole : NaN);
  const words = (value) =>
    Number.isNaN(value) ? "–" : value === Infinity ? "∞" : value > 1 ? String(Number(value.toPrecision(4))) : value.toFixed(4);

  function numbers(step) {
    const tp = signal - fn[step];
    const fp = background - tn[step];
    const ofClass = [
      [tn[step], fn[step] + fp],
      [tp, fn[step] + fp],
    ].filter(([right, wrong]) => right + wrong); // a class that is neither there nor called has no F1
    const scores = ofClass.map(([right, wrong]) => (2 * right) / (2 * right + wrong));
    return {
      counts: { tn: tn[step], fp, fn: fn[step], tp },
      scores: {
        accuracy: (tp + tn[step]) / (signal + background),
        precision: ratio(tp, tp + fp),
        recall: ratio(tp, signal),
        f1_macro: scores.reduce((sum, score) => sum + score, 0) / scores.length,
        signal_efficiency: ratio(tp, signal),
        background_rejection: ratio(tn[step], background),
        inverse_rejection: background ? background / fp : NaN,
      },
    };
  }

  function show() {
    const step = Number(slider.value);
    const now = numbers(step);
    for (const [id, value] of Object.entries(now.counts)) {
      const share = ratio(value, id === "tp" || id === "fn" ? signal : background);
      byId(id).textContent = `${value} (${(100 * share).toFixed(1)} %)`;
      byId(id).dataset.count = value;
    }
    for (const [id, value] of Object.entries(now.scores)) byId(id).textContent = words(value);
    const mark = [step === chosen && "chosen", step === best && "best"].filter(Boolean).join(" and ");
    const text = Number(threshold[step].toPrecision(5)) + (mark ? ` (${mark})` : "");
    byId("threshold-value").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    const place = last ? (1000 * step) / last : 0;
    here.setAttribute("d", `M${place} 0V260`);
    byId("spoken").textContent =
      `Threshold ${text}: signal efficiency ${words(now.scores.recall)}, ` +
      `background rejection ${words(now.scores.background_rejection)}, macro F1 ${words(now.scores.f1_macro)}`;
  }

  function line(kind, path) {
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
    drawn.setAttribute("class", kind);
    drawn.setAttribute("d", path);
    byId("curves").append(drawn);
    return drawn;
  }

  const x = (step) => (last ? (1000 * step) / last : 0).toFixed(1);
  const curve = (name) =>
    threshold.map((_, step) => `${step ? "L" : "M"}${x(step)} ${(255 - 250 * numbers(step).scores[name]).toFixed(1)}`);
  for (const part of [0, 0.25, 0.5, 0.75, 1]) line("grid", `M0 ${255 - 250 * part}H1000`);
  line("chosen", `M${x(chosen)} 0V260`);
  line("best", `M${x(best)} 0V260`);
  if (background) line("rejection", curve("background_rejection").join(""));
  if (signal) line("efficiency", curve("signal_efficiency").join(""));
  line("f1", curve("f1_macro").join(""));
  const here = line("here", "M0 0");

  for (const [name, step] of Object.entries({ chosen, best })) {
    byId(`to-${name}`).addEventListener("click", () => {
      slider.value = step;
      show();
    });
  }
  slider.addEventListener("input", show);
  show();
})();
