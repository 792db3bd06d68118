// Products, and the cart beside them.
import { change } from '../api.js'
import { h } from '../dom.js'
import { alert, announce, explain } from '../messages.js'
import { during, learn, peek } from '../store.js'
import { number, points, productName, text } from '../text.js'
import { cartView, totalOf } from '../cart.js'

export function open () {
  return {
    title: () => text('shop_title'),
    needs: () => ['/api/products', '/api/cart'],
    view: () => [
      h('h1', { tabindex: -1 }, text('shop_title')),
      h('p', { class: 'lead' }, text('shop_lead')),
      h('div', { class: 'shop' },
        h('ul', { class: 'products' }, (peek('/api/products')?.body.products ?? []).map(product)),
        cartView()),
      cartBar()
    ]
  }
}

function product ({ sku, price, stock }) {
  return h('li', { class: 'product' },
    h('img', { src: `/images/${sku}.svg`, alt: '', width: 240, height: 180, loading: 'lazy' }),
    h('h2', {}, productName(sku)),
    h('p', { class: 'price' }, points(price)),
    h('p', { class: 'stock' }, stock > 0 ? text('in_stock', { n: number(stock) }) : text('sold_out')),
    h('button', { type: 'button', id: `add-${sku}`, 'aria-label': text('add_one', { product: productName(sku) }), disabled: stock <= 0, onclick: () => add(sku) },
      text('add')))
}

// On a phone the cart is below the products: a bar at the bottom says what is in it, and leads there.
function cartBar () {
  const lines = peek('/api/cart')?.body.lines ?? {}
  const count = Object.values(lines).reduce((sum, line) => sum + line.quantity, 0)
  if (count === 0) return null
  return h('button', { type: 'button', class: 'primary cart-bar', id: 'cart-bar', onclick: toCart },
    h('span', {}, text('cart_bar', { n: number(count) })), h('strong', {}, points(totalOf(lines))))
}

function toCart () {
  const title = document.getElementById('cart-title')
  title.scrollIntoView({ block: 'start' })
  title.focus()
}

async function add (sku) {
  try {
    await during(async () => learn('/api/cart', await change('POST', '/api/cart/items', { sku, quantity: 1 })))
    announce(text('added', { product: productName(sku) }))
  } catch (error) {
    alert(explain(error))
  }
}
