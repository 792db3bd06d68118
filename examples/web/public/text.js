// What the shop says, in the page's language. text('points', { n: 5 })
import en from './text/en.js'
import ko from './text/ko.js'

const DICTIONARIES = { en, ko }

export const language = () => document.documentElement.lang

export function text (key, values = {}) {
  const pattern = DICTIONARIES[language()][key] ?? key
  return pattern.replace(/\{(\w+)\}/g, (_, name) => values[name])
}

export const number = n => new Intl.NumberFormat(language()).format(n)
export const points = n => text('points', { n: number(n) })
export const date = at => new Intl.DateTimeFormat(language(), { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(at))
export const productName = sku => text(`product_${sku.replaceAll('-', '_')}`)

export function setLanguage (code) {
  document.documentElement.lang = code
  document.cookie = `language=${code}; Path=/; SameSite=Lax; Max-Age=31536000`
}
