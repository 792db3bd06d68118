import { toShop } from '../cart.js'
import { h, link } from '../dom.js'
import { peek } from '../store.js'
import { date, points, text } from '../text.js'

export const badge = state => h('span', { class: `badge ${state}` }, text(`state_${state}`))

export function open () {
  return {
    title: () => text('orders_title'),
    needs: () => ['/api/orders'],
    view: () => [h('h1', { tabindex: -1 }, text('orders_title')), ...content()]
  }
}

function content () {
  const orders = peek('/api/orders')?.body.orders ?? []
  if (orders.length === 0) return [h('p', {}, text('orders_empty')), toShop()]
  return [h('ul', { class: 'orders' }, orders.map(({ id, state, total, at }) => h('li', { class: 'panel' },
    link(`/orders/${id}`, text('order_title', { id })),
    h('span', { class: 'muted' }, date(at)), badge(state), h('span', { class: 'price' }, points(total)))))]
}
