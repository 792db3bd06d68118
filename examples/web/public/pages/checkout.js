// The checkout: one order, however often the button is pressed, the answer is lost or the page
// is gone back to. The key belongs to this version of the cart, and is kept until the answer is there.
import { change, newKey } from '../api.js'
import { summaryView, toShop, totalOf } from '../cart.js'
import { h, link } from '../dom.js'
import { alert, announce, explain } from '../messages.js'
import { during, learn, load, peek } from '../store.js'
import { number, points, text } from '../text.js'
import { go } from '../app.js'

let note = ''
let busy = false

export function open () {
  return {
    title: () => text('checkout_title'),
    needs: () => ['/api/cart', '/api/wallet'],
    view: () => [h('h1', { tabindex: -1 }, text('checkout_title')), ...content()]
  }
}

function content () {
  const lines = peek('/api/cart')?.body.lines ?? {}
  if (Object.keys(lines).length === 0) return emptyView()
  const total = totalOf(lines)
  const left = (peek('/api/wallet')?.body.available ?? 0) - total
  return [h('form', { class: 'panel narrow', onsubmit: submit },
    summaryView(lines),
    h('div', { class: 'field' },
      h('label', { for: 'note' }, text('note')),
      h('input', { id: 'note', name: 'note', maxlength: 200, autocomplete: 'off', 'aria-describedby': 'note-hint', value: note, oninput: event => { note = event.target.value } }),
      h('p', { class: 'muted', id: 'note-hint' }, text('note_hint'))),
    h('button', { type: 'submit', class: 'primary wide', id: 'buy', 'aria-disabled': String(busy) },
      busy ? text('buying') : text('buy', { n: number(total) })),
    h('p', { class: left < 0 ? 'warning' : 'muted' }, left < 0
      ? text('problem_insufficient_balance', { available: points(left + total), wanted: points(total) })
      : text('after_buy', { n: number(left) })))]
}

function emptyView () {
  const last = sessionStorage.getItem('last-order')
  return [h('p', {}, text('checkout_empty')), last ? h('p', {}, link(`/orders/${last}`, text('last_order'))) : null, toShop()]
}

async function submit (event) {
  event.preventDefault()
  if (busy) return
  const { etag } = peek('/api/cart')
  const name = `buy ${etag}`
  const key = sessionStorage.getItem(name) ?? newKey()
  sessionStorage.setItem(name, key)
  setBusy(true)
  try {
    const order = await during(async () => {
      const answer = await change('POST', '/api/orders', { note }, { ifMatch: etag, key })
      await Promise.allSettled([load('/api/cart'), load('/api/wallet')])
      return answer
    })
    bought(order)
  } catch (error) {
    refused(error)
    // a refusal is not remembered; where nothing was heard the key must stay
    if (!['network', 'unavailable'].includes(error.code)) sessionStorage.removeItem(name)
  } finally {
    setBusy(false)
  }
}

function bought ({ etag, body }) {
  learn(`/api/orders/${body.id}`, { etag, body })
  sessionStorage.setItem('last-order', body.id)
  note = ''
  announce(text('bought'))
  go(`/orders/${body.id}`)
}

function refused (error) {
  if (error.status !== 412) return alert(explain(error))
  learn('/api/cart', { etag: error.etag, body: error.current })
  alert(text('cart_was_bought'))
}

function setBusy (yes) {
  busy = yes
  const button = document.getElementById('buy')
  button?.setAttribute('aria-disabled', String(yes))
  if (button && yes) button.textContent = text('buying')
  else if (button) button.textContent = text('buy', { n: number(totalOf(peek('/api/cart').body.lines)) })
}
