// One order: what it holds, where it stands, and what may be done with it now.
import { change } from '../api.js'
import { summaryView } from '../cart.js'
import { h, link } from '../dom.js'
import { alert, announce, explain } from '../messages.js'
import { during, learn, load, peek } from '../store.js'
import { date, text } from '../text.js'
import { badge } from './orders.js'

const STEPS = ['placed', 'approved', 'shipped']

export function open (id) {
  const path = `/api/orders/${id}`
  return {
    title: () => text('order_title', { id }),
    needs: () => [path, '/api/rules'],
    view: () => {
      const order = peek(path)?.body
      return [h('h1', { tabindex: -1 }, text('order_title', { id })), order ? content(path, order) : h('p', {}, text('loading'))].flat()
    }
  }
}

function content (path, order) {
  return [
    h('p', { class: 'muted' }, text('order_from', { date: date(order.history[0].at) }), ' ', h('span', { id: 'state' }, badge(order.state))),
    stepsView(order.state),
    h('div', { class: 'columns' },
      h('section', { class: 'panel', 'aria-labelledby': 'lines' },
        h('h2', { id: 'lines' }, text('order_lines')), summaryView(order.lines),
        order.note ? h('p', {}, h('strong', {}, text('order_note')), ': ', order.note) : null),
      h('section', { class: 'panel', 'aria-labelledby': 'history' },
        h('h2', { id: 'history' }, text('order_history')),
        h('ol', { class: 'history' }, order.history.map(({ type, at }) => h('li', {}, text(`event_${type}`), ' ', h('span', { class: 'muted' }, date(at))))))),
    actionsView(path, order),
    h('p', {}, link('/orders', text('orders_title')))
  ]
}

function stepsView (state) {
  if (!STEPS.includes(state)) return null
  const now = STEPS.indexOf(state)
  return h('ol', { class: 'progress', 'aria-label': text('state') }, STEPS.map((step, n) =>
    h('li', { class: n <= now ? 'done' : '', 'aria-current': n === now ? 'step' : null }, text(`state_${step}`))))
}

function actionsView (path, { state }) {
  const allowed = peek('/api/rules')?.body.allowed[state] ?? []
  if (allowed.length === 0) return null
  return h('section', { class: 'panel', 'aria-labelledby': 'desk' },
    h('h2', { id: 'desk' }, text('desk')),
    h('p', { class: 'muted' }, text('desk_hint')),
    h('div', { class: 'buttons' }, allowed.map(action => h('button', {
      type: 'button', id: action, class: action === 'cancel' ? 'danger' : 'primary', onclick: () => act(path, action)
    }, text(`action_${action}`)))))
}

let busy = false

// What is done rests on what is shown: the version goes into If-Match. A double click is one.
async function act (path, action) {
  if (busy) return
  busy = true
  const { etag } = peek(path)
  try {
    const answer = await during(async () => {
      const answer = await change('POST', `${path}/${action}`, {}, { ifMatch: etag })
      learn(path, answer)
      await load('/api/wallet').catch(() => {})
      return answer
    })
    announce(text('order_done', { state: text(`state_${answer.body.state}`) }))
  } catch (error) {
    if (error.status !== 412) return alert(explain(error))
    learn(path, { etag: error.etag, body: error.current })
    alert(text('order_changed', { state: text(`state_${error.current.state}`) }))
  } finally {
    busy = false
  }
  document.querySelector('main h1').focus()
}
