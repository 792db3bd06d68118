// The cart: its lines, and what to do when another window has changed it first.
import { change } from './api.js'
import { resolveConflict } from './dialog.js'
import { h, link } from './dom.js'
import { alert, explain } from './messages.js'
import { during, learn, peek } from './store.js'
import { number, points, productName, text } from './text.js'

export const totalOf = lines => Object.values(lines).reduce((sum, line) => sum + line.quantity * line.price, 0)

export function cartView () {
  const lines = peek('/api/cart')?.body.lines ?? {}
  const skus = Object.keys(lines).sort()
  return h('section', { class: 'panel cart', 'aria-labelledby': 'cart-title' },
    h('h2', { id: 'cart-title', tabindex: -1 }, text('cart_title')),
    skus.length === 0
      ? h('p', { class: 'muted' }, text('cart_empty'))
      : [h('ul', { class: 'lines' }, skus.map(sku => lineView(sku, lines[sku]))),
          h('p', { class: 'sum' }, h('span', {}, text('total')), h('strong', { id: 'cart-total' }, points(totalOf(lines)))),
          h('a', { href: '/checkout', 'data-link': true, class: 'button primary', id: 'to-checkout' }, text('to_checkout'))])
}

function lineView (sku, { quantity, price }) {
  const product = productName(sku)
  const step = (id, label, sign, by) => h('button', {
    type: 'button', class: 'step', id: `${id}-${sku}`, 'aria-label': text(label, { product }), disabled: quantity + by > 99, onclick: () => set(sku, shown => shown + by)
  }, sign)
  return h('li', { 'data-sku': sku },
    h('span', { class: 'name' }, product),
    h('span', { class: 'price' }, points(quantity * price)),
    h('span', { class: 'steps' },
      step('fewer', 'fewer', '−', -1), h('output', { 'aria-label': text('quantity') }, number(quantity)), step('more', 'more', '+', 1)),
    h('button', { type: 'button', class: 'quiet', id: `remove-${sku}`, 'aria-label': text('remove_one', { product }), onclick: () => set(sku, () => 0) }, text('remove')))
}

const quantityIn = (body, sku) => body.lines[sku]?.quantity ?? 0

let turn = Promise.resolve()

// What is shown as its turn comes goes into If-Match. Two quick clicks are two, one after the other.
function set (sku, wanted) {
  turn = turn.then(() => {
    const { etag, body } = peek('/api/cart')
    const base = quantityIn(body, sku)
    const quantity = Math.min(Math.max(wanted(base), 0), 99)
    return quantity === base ? null : put(sku, quantity, etag, base)
  }).catch(error => alert(explain(error)))
}

async function put (sku, quantity, ifMatch, base) {
  try {
    await during(async () => learn('/api/cart', await change('PUT', `/api/cart/lines/${sku}`, { quantity }, { ifMatch })))
  } catch (error) {
    if (error.status !== 412) return alert(explain(error))
    await decide(sku, quantity, base, error)
  }
}

// Another line was changed: ours goes on top. This one was: the person decides.
async function decide (sku, mine, base, { current, etag }) {
  const theirs = quantityIn(current, sku)
  learn('/api/cart', { etag, body: current })
  if (theirs === mine) return
  if (theirs === base) return put(sku, mine, etag, base)
  const choice = await resolveConflict([{ field: 'quantity', label: `${productName(sku)}: ${text('quantity')}`, base, mine, theirs }])
  if (choice?.quantity === 'mine') await put(sku, mine, etag, theirs)
}

// For the checkout: the lines, to be read only
export function summaryView (lines) {
  return h('table', {},
    h('tbody', {}, Object.keys(lines).sort().map(sku => h('tr', {},
      h('th', { scope: 'row' }, productName(sku)),
      h('td', { class: 'number' }, `× ${number(lines[sku].quantity)}`),
      h('td', { class: 'number' }, points(lines[sku].quantity * lines[sku].price))))),
    h('tfoot', {}, h('tr', {},
      h('th', { scope: 'row', colspan: 2 }, text('total')), h('td', { class: 'number' }, h('strong', {}, points(totalOf(lines)))))))
}

export const toShop = () => h('p', {}, link('/', text('to_shop')))
