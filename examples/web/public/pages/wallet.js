// The wallet: what is in it, earning and spending, and how it came to that.
import { change } from '../api.js'
import { h, link } from '../dom.js'
import { alert, announce, explain } from '../messages.js'
import { during, load, peek } from '../store.js'
import { date, number, points, text } from '../text.js'

const draft = { amount: '', reason: '' }

export function open () {
  return {
    title: () => text('wallet_title'),
    needs: () => ['/api/wallet'],
    view: () => {
      const wallet = peek('/api/wallet')?.body
      return [h('h1', { tabindex: -1 }, text('wallet_title')), ...(wallet ? content(wallet) : [])]
    }
  }
}

function content ({ balance, available, history }) {
  return [
    h('div', { class: 'columns' },
      h('section', { class: 'panel', 'aria-labelledby': 'balance-title' },
        h('h2', { id: 'balance-title' }, text('balance')),
        h('p', { class: 'big', id: 'wallet-balance' }, points(balance)),
        available === balance ? null : h('p', { class: 'muted' }, text('available', { n: number(available) }))),
      formView()),
    h('section', { class: 'panel', 'aria-labelledby': 'history-title' },
      h('h2', { id: 'history-title' }, text('wallet_history')),
      h('table', { class: 'wallet' },
        h('thead', {}, h('tr', {},
          h('th', { scope: 'col' }, text('when')), h('th', { scope: 'col' }, text('what')),
          h('th', { scope: 'col', class: 'number' }, text('change')), h('th', { scope: 'col', class: 'number' }, text('after')))),
        h('tbody', {}, history.map(entryView))))
  ]
}

function entryView ({ type, amount, balance, reason, order, at }) {
  const sign = amount > 0 ? '+' : amount < 0 ? '−' : ''
  return h('tr', {},
    h('td', { class: 'muted' }, date(at)),
    h('td', {}, text(`event_${type}`), order ? [' ', link(`/orders/${order}`, order)] : null, reason ? h('span', { class: 'muted' }, ` ${reason}`) : null),
    h('td', { class: `number ${amount > 0 ? 'plus' : ''}` }, sign + number(Math.abs(amount))),
    h('td', { class: 'number' }, number(balance)))
}

function formView () {
  const field = (name, properties) => h('div', { class: 'field' },
    h('label', { for: name }, text(name)),
    h('input', { id: name, name, autocomplete: 'off', value: draft[name], oninput: event => { draft[name] = event.target.value }, ...properties }))
  return h('form', { class: 'panel', 'aria-labelledby': 'change-title', onsubmit: submit },
    h('h2', { id: 'change-title' }, text('wallet_change')),
    field('amount', { type: 'number', min: 1, max: 1000000, step: 1, required: true, inputmode: 'numeric' }),
    field('reason', { maxlength: 100 }),
    h('div', { class: 'buttons' },
      h('button', { type: 'submit', class: 'primary', id: 'earn', value: 'earn' }, text('earn')),
      h('button', { type: 'submit', id: 'spend', value: 'spend' }, text('spend'))))
}

let busy = false

async function submit (event) {
  event.preventDefault()
  if (busy) return
  busy = true
  const action = event.submitter?.value ?? 'earn'
  const amount = Number(draft.amount)
  try {
    await during(async () => {
      await change('POST', `/api/wallet/${action}`, { amount, reason: draft.reason })
      Object.assign(draft, { amount: '', reason: '' })
      await load('/api/wallet')
    })
    announce(text(action === 'earn' ? 'earned' : 'spent', { n: number(amount) }))
  } catch (error) {
    alert(explain(error))
  } finally {
    busy = false
  }
}
