// Builds elements. Text enters the page as text nodes only: there is no way here to write HTML.

/**
 * An element. In `properties`, `on` maps event names to listeners, `data` fills the dataset, keys
 * with a dash and `role` are attributes, and anything else is a property of the element; children
 * are nodes, strings, or null for none.
 */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key === "on") {
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    } else if (key === "data") Object.assign(element.dataset, value);
    else if (key === "role" || key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button with an icon whose name is its label and its tooltip. */
export function iconButton(icon, label, click, className = "") {
  return h(
    "button",
    {
      type: "button",
      className: `icon-button ${className}`,
      title: label,
      "aria-label": label,
      on: { click },
    },
    icon,
  );
}

/** A button with words. */
export function textButton(label, click, className = "") {
  return h("button", { type: "button", className: `button ${className}`, on: { click } }, label);
}
