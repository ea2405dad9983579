// Measures the page in one frame after the other and writes what it found into #found.
const luminance = (colour) => {
  const part = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const [r, g, b] = colour.match(/[\d.]+/g).map(Number);
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const named = (label) => JSON.stringify(label.textContent);

function labels(chart, faults) {
  const edge = chart.getBoundingClientRect();
  const texts = [...chart.querySelectorAll("text")].filter((text) => text.textContent.trim());
  const boxes = texts.map((text) => text.getBoundingClientRect());
  const chartName = chart.getAttribute("aria-label");
  boxes.forEach((a, i) => {
    if (a.left < edge.left - 0.5 || a.right > edge.right + 0.5 || a.top < edge.top - 0.5 || a.bottom > edge.bottom + 0.5)
      faults.push(`${chartName}: ${named(texts[i])} leaves the plot`);
    if (a.height < 8) faults.push(`${chartName}: ${named(texts[i])} is only ${a.height} pixels high`);
    for (let j = i + 1; j < boxes.length; j++) {
      const b = boxes[j];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 0.5 && down > 0.5) faults.push(`${chartName}: ${named(texts[i])} overlaps ${named(texts[j])}`);
    }
  });
  return texts.length;
}

function colours(view, body, faults) {
  const style = (element) => view.getComputedStyle(element);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = style(element).backgroundColor;
      if (!/, 0\)$|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  for (const element of body.querySelectorAll("h1,h2,p,li,strong,span,b,small,th,td,dt,dd")) {
    if (!element.textContent.trim()) continue;
    const ratio = contrast(style(element).color, ground(element));
    if (ratio < 4.5) faults.push(`${named(element)} has a contrast of ${ratio.toFixed(1)}`);
  }
  for (const text of body.querySelectorAll("svg text")) {
    const ratio = contrast(style(text).fill, ground(text));
    if (ratio < 4.5) faults.push(`label ${named(text)} has a contrast of ${ratio.toFixed(1)}`);
  }
  for (const line of body.querySelectorAll(".line")) {
    const ratio = contrast(style(line).stroke, ground(line));
    if (ratio < 3) faults.push(`a line ${line.getAttribute("class")} has a contrast of ${ratio.toFixed(1)}`);
  }
}

function measure(frame, width) {
  const view = frame.contentWindow;
  const body = frame.contentDocument.body;
  const faults = [];
  const charts = [...body.querySelectorAll("figure > svg")];
  let count = 0;
  for (const chart of charts) count += labels(chart, faults);
  const wide = frame.contentDocument.documentElement.scrollWidth;
  if (wide > view.innerWidth) faults.push(`the page is ${wide} pixels wide in a window of ${view.innerWidth}`);
  for (const box of body.querySelectorAll(".tiles div, .tiles b, .scroll, .legend, h1, dl"))
    if (box.scrollWidth > box.clientWidth + 1) faults.push(`${named(box).slice(0, 60)} does not fit its box`);
  colours(view, body, faults);
  const requests = view.performance.getEntriesByType("resource").map((entry) => entry.name);
  const dark = view.matchMedia("(prefers-color-scheme: dark)").matches;
  return { width, dark, charts: charts.length, labels: count, faults, requests };
}

const found = [];
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.width = width;
  frame.height = 900;
  frame.style.border = 0;
  frame.onload = () => {
    found.push(measure(frame, width));
    document.getElementById("found").textContent = JSON.stringify(found);
  };
  frame.srcdoc = page;
  document.body.append(frame);
}
