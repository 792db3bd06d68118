// The page: which one is shown, the header, and what comes from other windows.
import { replace } from './dom.js'
import { alert, announce, explain } from './messages.js'
import { follow, load, onChange, peek } from './store.js'
import { points, setLanguage, text, language } from './text.js'
import * as shop from './pages/shop.js'
import * as checkout from './pages/checkout.js'
import * as orders from './pages/orders.js'
import * as order from './pages/order.js'
import * as wallet from './pages/wallet.js'
import * as profile from './pages/profile.js'
import * as missing from './pages/missing.js'

const PAGES = [
  [/^\/$/, shop], [/^\/checkout$/, checkout], [/^\/orders$/, orders], [/^\/orders\/(\w+)$/, order], [/^\/wallet$/, wallet], [/^\/profile$/, profile]
]
const main = document.getElementById('main')
let current

// A page has { title(), needs(), view() }: a text, the resources it shows, and its elements.
function pageAt (path) {
  for (const [pattern, page] of PAGES) {
    const match = pattern.exec(path)
    if (match) return page.open(...match.slice(1))
  }
  return missing.open()
}

async function show () {
  const page = current = pageAt(location.pathname)
  drawFrame()
  const results = await Promise.allSettled(page.needs().map(load))
  if (page !== current) return
  const failed = results.find(result => result.status === 'rejected')
  if (failed?.reason.status === 404) current = missing.open()
  else if (failed) return alert(explain(failed.reason))
  draw()
}

function draw () {
  document.title = `${current.title()} – ${text('shop_name')}`
  replace(main, current.view())
}

export function go (path) {
  history.pushState(null, '', path)
  arrive()
}

async function arrive () {
  await show()
  window.scrollTo(0, 0)
  main.querySelector('h1')?.focus()
}

function drawFrame () {
  for (const element of document.querySelectorAll('[data-text]')) element.textContent = text(element.dataset.text)
  for (const element of document.querySelectorAll('[data-label]')) element.setAttribute('aria-label', text(element.dataset.label))
  for (const button of document.querySelectorAll('[data-language]')) button.setAttribute('aria-pressed', String(button.dataset.language === language()))
  for (const anchor of document.querySelectorAll('nav a')) {
    const path = anchor.getAttribute('href')
    const here = path === '/' ? ['/', '/checkout'].includes(location.pathname) : location.pathname.startsWith(path)
    if (here) anchor.setAttribute('aria-current', 'page')
    else anchor.removeAttribute('aria-current')
  }
  drawBalance()
  drawLive()
}

function drawBalance () {
  const wallet = peek('/api/wallet')
  document.getElementById('balance').textContent = wallet ? points(wallet.body.balance) : ''
}

function drawLive () {
  const { live } = document.documentElement.dataset
  const line = document.getElementById('live')
  line.className = live ?? ''
  line.textContent = live ? text(`live_${live}`) : ''
}

document.addEventListener('click', event => {
  const anchor = event.target.closest('a[data-link]')
  if (anchor && event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault()
    go(anchor.getAttribute('href'))
  }
  const button = event.target.closest('[data-language]')
  if (button) {
    setLanguage(button.dataset.language)
    drawFrame()
    draw()
  }
})
window.addEventListener('popstate', arrive)
// a page that the browser has kept as it was left may be an old one
window.addEventListener('pageshow', event => { if (event.persisted) show() })

onChange(path => {
  if (path === '/api/wallet') drawBalance()
  if (current?.needs().includes(path)) draw()
})

await Promise.allSettled([show(), load('/api/wallet')])
follow({
  changed: kind => { if (kind !== 'stock') announce(text(`changed_${kind}`)) },
  live: yes => { document.documentElement.dataset.live = yes ? 'yes' : 'no'; drawLive() }
})
