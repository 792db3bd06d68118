// Elements without markup in strings: what comes from the server is text, never HTML.
export function h (tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (name === 'value' || name === 'checked') element[name] = value
    else element.setAttribute(name, value === true ? '' : value)
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined && child !== false))
  return element
}

export const link = (href, ...children) => h('a', { href, 'data-link': true }, ...children)

// Puts new content in, and the focus back on the element of the same id.
export function replace (container, ...children) {
  const focused = document.activeElement?.id
  container.replaceChildren(...children.flat().filter(Boolean))
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus()
}
