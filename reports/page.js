// What the scripts of all pages share. Every text goes in as text, never as HTML.
// PALETTE, the colours of figures/palette.py, stands before it.
const DATA = JSON.parse(document.getElementById("data").textContent);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// explains what is under the pointer, or has the focus
const tip = element("div", { class: "tip", role: "status" });
tip.hidden = true;
document.body.append(tip);
