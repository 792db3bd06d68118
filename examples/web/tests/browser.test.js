// What a person sees: the shop in headless Chromium, mostly in two windows of one visitor.
import { after, before, test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { openShop } from './support.js'

const PICTURES = process.env.SCREENSHOTS ?? './screenshots'
const home = mkdtempSync(join(tmpdir(), 'chromium.'))
let shop, browser

before(async () => {
  mkdirSync(PICTURES, { recursive: true })
  shop = await openShop()
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--force-color-profile=srgb'],
    env: { ...process.env, HOME: home, TMPDIR: home }
  })
})
after(async () => {
  await browser?.close()
  await shop.close()
  rmSync(home, { recursive: true, force: true })
})

// A visitor with so many windows; what a page complains of fails the test.
async function visit (windows, { path = '/', locale = 'en-GB', viewport = { width: 1200, height: 860 } } = {}) {
  const context = await browser.newContext({ locale, viewport, reducedMotion: 'reduce' })
  context.setDefaultTimeout(60000)
  const complaints = []
  const pages = []
  for (let n = 0; n < windows; n++) {
    const page = await context.newPage()
    await page.addInitScript(rememberSaid)
    page.on('pageerror', error => complaints.push(String(error)))
    page.on('console', message => { if (/Content Security Policy|Uncaught/.test(message.text())) complaints.push(message.text()) })
    await page.goto(shop.url + path)
    await isLive(page)
    pages.push(page)
  }
  return { context, pages, complaints, end: async () => { await context.close(); assert.deepEqual(complaints, []) } }
}

// What a screen reader was given
function rememberSaid () {
  window.said = []
  document.addEventListener('DOMContentLoaded', () => new MutationObserver(() => {
    const text = document.getElementById('announcements').textContent
    if (text) window.said.push(text)
  }).observe(document.getElementById('announcements'), { childList: true }))
}

const said = page => page.evaluate(() => window.said)
const isLive = page => page.waitForSelector('html[data-live=yes]')
// A picture that cannot be taken fails nothing.
const picture = async (page, name) => {
  await page.bringToFront()
  await page.screenshot({ path: `${PICTURES}/${name}.png` }).catch(error => console.log(`# no picture ${name}: ${error.message}`))
}
const shows = (page, selector, text) => page.locator(selector).filter({ hasText: text }).first().waitFor()
const here = page => new URL(page.url()).pathname
// of the visitor who has come last
const customerOf = () => shop.one("SELECT split_part(aggregate_id, '/', 1) FROM pointstore.event_store WHERE event_type = 'Welcome' ORDER BY id DESC LIMIT 1")
const ordersOf = customer => shop.one("SELECT count(*)::int FROM pointstore.account WHERE kind = 'order' AND starts_with(aggregate_id, $1)", [customer])
const balanceOf = customer => shop.one('SELECT balance::int FROM pointstore.get_balance($1)', [`${customer}/wallet`])

async function fillCart (page, ...skus) {
  for (const sku of skus) {
    await page.click(`#add-${sku}`)
    await page.waitForSelector(`#fewer-${sku}`)
  }
}

async function toCheckout (page) {
  await page.click('#to-checkout')
  await page.waitForSelector('#buy')
}

const placed = page => page.waitForURL(/\/orders\/[0-9a-f]{12}$/)

async function buy (page, sku) {
  await fillCart(page, sku)
  await toCheckout(page)
  await page.click('#buy')
  await placed(page)
}

test('a change of the cart shows in the other window at once, and is read out there', async () => {
  const { pages: [a, b], end } = await visit(2)
  await fillCart(a, 'green-tea', 'cup')
  await shows(b, '.lines li', 'Pair of cups')
  await a.click('#more-cup')
  await shows(b, '[data-sku=cup] output', '2')
  await b.dblclick('#more-cup')
  await shows(a, '[data-sku=cup] output', '4')
  await b.dblclick('#fewer-cup')
  await shows(a, '[data-sku=cup] output', '2')
  await b.click('#remove-green-tea')
  await a.waitForSelector('[data-sku=green-tea]', { state: 'detached' })
  await shows(a, '#cart-total', '18,000 P')
  const ELSEWHERE = 'Your cart was changed in another window.'
  await a.waitForFunction(text => window.said.includes(text), ELSEWHERE)
  assert.deepEqual([...new Set(await said(a))], ['Added to your cart: Green tea, first flush', 'Added to your cart: Pair of cups', ELSEWHERE])
  assert.deepEqual([...new Set(await said(b))], [ELSEWHERE])
  await end()
})

test('a double click on Buy is one order', async () => {
  const { pages: [page], end } = await visit(1)
  const customer = await customerOf()
  await fillCart(page, 'green-tea', 'cup', 'rice-cake')
  await picture(page, 'shop')
  await toCheckout(page)
  await page.fill('#note', 'At the door, please')
  await picture(page, 'checkout')
  await page.dblclick('#buy')
  await placed(page)
  await shows(page, '#announcements', 'Your order is placed')
  assert.deepEqual([await ordersOf(customer), await balanceOf(customer)], [1, 78000])
  await picture(page, 'order')
  await end()
})

test('the answer is lost: the same request again, one order, one charge', async () => {
  const { pages: [page], context, end } = await visit(1)
  const customer = await customerOf()
  await fillCart(page, 'teapot')
  await toCheckout(page)
  const keys = []
  await context.route('**/api/orders', async route => {
    if (route.request().method() !== 'POST') return route.continue()
    keys.push(await route.request().headerValue('idempotency-key'))
    if (keys.length > 2) return route.continue()
    // once the request is lost, once the answer
    if (keys.length === 2) await route.fetch()
    return route.abort('connectionreset')
  })
  await page.click('#buy')
  await placed(page)
  assert.deepEqual([keys.length, new Set(keys).size], [3, 1])
  assert.deepEqual([await ordersOf(customer), await balanceOf(customer)], [1, 76000])
  await end()
})

test('no answer at all: the page says so; pressed again later it is still one order', async () => {
  const { pages: [page], context, end } = await visit(1)
  const customer = await customerOf()
  await fillCart(page, 'honey')
  await toCheckout(page)
  await context.route('**/api/orders', async route => {
    if (route.request().method() === 'POST') await route.fetch()
    return route.abort('connectionreset')
  })
  await page.click('#buy')
  await shows(page, '#alerts', 'No connection')
  await context.unroute('**/api/orders')
  // the stream has told the other half of the story meanwhile: the cart was checked out
  assert.deepEqual([await ordersOf(customer), await balanceOf(customer)], [1, 88000])
  await shows(page, 'main', 'nothing is left to buy')
  await page.reload()
  await shows(page, 'main', 'nothing is left to buy')
  assert.equal(await ordersOf(customer), 1)
  await end()
})

test('the back button leads to an empty checkout, not to a second order', async () => {
  const { pages: [page], end } = await visit(1)
  const customer = await customerOf()
  await buy(page, 'cup')
  await page.goBack()
  await shows(page, 'main', 'nothing is left to buy')
  assert.equal(await page.locator('#buy').count(), 0)
  await page.click('main a >> nth=0')
  await placed(page)
  await page.goBack()
  await page.goBack()
  await page.waitForSelector('#add-cup')
  assert.deepEqual([await ordersOf(customer), await balanceOf(customer)], [1, 91000])
  await end()
})

// A window that hears nothing from the others: its stream is cut
async function deafen (page) {
  await page.route('**/api/events', route => route.abort())
  await page.reload()
  await page.waitForSelector('html[data-live=no]')
}

test('a stale tab: both see a form, the second to save decides field by field', async () => {
  const { pages: [a, b], end } = await visit(2, { path: '/profile' })
  await a.fill('#name', 'Kim Hana')
  await a.fill('#phone', '010-1234-5678')
  await a.fill('#address', '12 Lotus Street')
  await a.click('#save')
  await shows(a, '#announcements', 'Saved')
  await b.waitForFunction(() => document.getElementById('address').value === '12 Lotus Street')
  await deafen(b)
  await a.fill('#phone', '010-9999-0000')
  await a.fill('#address', '7 Willow Lane')
  await a.click('#save')
  await shows(a, '#announcements', 'Saved')
  await b.fill('#address', '3 Pine Road')
  await b.fill('#message', 'Ring twice')
  await b.click('#save')
  await b.waitForSelector('dialog[open]')
  const chosen = name => b.locator(`dialog input[name=${name}]:checked`).evaluateAll(inputs => inputs.map(input => input.value))
  assert.deepEqual([await chosen('phone'), await chosen('address'), await chosen('message')], [['theirs'], [], ['mine']])
  await b.check('#address-mine')
  await picture(b, 'conflict')
  await b.click('#save-choice')
  await shows(b, '#announcements', 'Saved')
  await a.waitForFunction(() => document.getElementById('message').value === 'Ring twice')
  const values = page => page.locator('main input').evaluateAll(inputs => inputs.map(input => input.value))
  const merged = ['Kim Hana', '010-9999-0000', '3 Pine Road', 'Ring twice']
  assert.deepEqual([await values(a), await values(b)], [merged, merged])
  await end()
})

// One window with a name that is typed and not saved, while another has saved its own
async function unsaved (typed, saved) {
  const { pages: [a, b], end } = await visit(2, { path: '/profile' })
  await b.fill('#name', typed)
  await a.fill('#name', saved)
  await a.click('#save')
  await b.waitForSelector('#compare')
  return { b, end }
}

test('while a form has unsaved changes it stays, says that there are others, and compares', async () => {
  const { b, end } = await unsaved('Hana', 'Hana Kim')
  assert.equal(await b.inputValue('#name'), 'Hana')
  await b.click('#compare')
  await b.waitForSelector('dialog[open]')
  await b.keyboard.press('Escape')
  await b.waitForSelector('dialog', { state: 'detached' })
  assert.equal(await b.inputValue('#name'), 'Hana')
  await b.click('#compare')
  await b.click('#all-theirs')
  await b.click('#save-choice')
  await b.waitForSelector('#compare', { state: 'detached' })
  assert.equal(await b.inputValue('#name'), 'Hana Kim')
  await end()
})

test('a stale cart: another line goes on top, the same line is asked about', async () => {
  const { pages: [a, b], end } = await visit(2)
  await fillCart(a, 'cup', 'honey')
  await shows(b, '.lines li', 'Forest honey')
  await deafen(b)
  await b.waitForSelector('#more-cup')
  await a.click('#more-honey')
  await shows(a, '[data-sku=honey] output', '2')
  await b.click('#more-cup')
  await shows(b, '[data-sku=cup] output', '2')
  await shows(b, '[data-sku=honey] output', '2')
  await shows(a, '[data-sku=cup] output', '2')
  await a.click('#more-cup')
  await shows(a, '[data-sku=cup] output', '3')
  await b.click('#fewer-cup')
  await b.waitForSelector('dialog[open]')
  await b.check('#quantity-mine')
  await b.click('#save-choice')
  await shows(b, '[data-sku=cup] output', '1')
  await shows(a, '[data-sku=cup] output', '1')
  await end()
})

test('an order whose approval and cancellation cross: the second is told, and nothing was done', async () => {
  const { pages: [a, b], end } = await visit(2)
  const customer = await customerOf()
  await buy(a, 'cup')
  await b.goto(shop.url + here(a))
  await b.waitForSelector('#cancel')
  await deafen(b)
  await b.waitForSelector('#cancel')
  await a.dblclick('#approve')
  await shows(a, '#state', 'Approved')
  assert.equal(await a.locator('#alerts p').count(), 0)
  await b.click('#cancel')
  await shows(b, '#alerts', 'it is “Approved” now')
  assert.equal(await balanceOf(customer), 91000)
  await b.click('#cancel')
  await shows(b, '#state', 'Cancelled')
  await shows(a, '#state', 'Cancelled')
  await shows(a, '#balance', '100,000 P')
  assert.equal(await a.locator('#ship').count(), 0)
  await end()
})

test('the wallet: earned here, seen there; too much is refused in words', async () => {
  const { pages: [a, b], end } = await visit(2, { path: '/wallet' })
  await a.fill('#amount', '2500')
  await a.fill('#reason', 'A survey <b>filled in</b>')
  await a.click('#earn')
  await shows(b, '#wallet-balance', '102,500 P')
  await shows(b, '.wallet', 'A survey <b>filled in</b>')
  await b.fill('#amount', '200000')
  await b.click('#spend')
  await shows(b, '#alerts', '102,500 P available, 200,000 P wanted')
  await picture(a, 'wallet')
  await end()
})

test('Korean: as the browser asks, and by the switch, without losing what was typed', async () => {
  const { pages: [page], end } = await visit(1, { locale: 'ko-KR', path: '/profile' })
  assert.equal(await page.getAttribute('html', 'lang'), 'ko')
  await shows(page, 'h1', '내 정보')
  await page.fill('#name', '김하나')
  await page.click('[data-language=en]')
  await shows(page, 'h1', 'Your profile')
  assert.deepEqual([await page.getAttribute('html', 'lang'), await page.inputValue('#name')], ['en', '김하나'])
  await page.click('[data-language=ko]')
  await page.goto(`${shop.url}/`)
  await isLive(page)
  await fillCart(page, 'green-tea')
  await picture(page, 'korean')
  const words = await page.locator('body').innerText()
  assert.deepEqual(words.match(/[A-Za-z]{2,}/g), ['English'])
  assert.equal(await page.title(), '차, 그리고 곁들일 것들 – 잎과 주전자')
  await end()
})

test('on a phone nothing is wider than the screen, and everything can be touched', async () => {
  for (const locale of ['ko-KR', 'en-GB']) {
    const { pages: [page], end } = await visit(1, { locale, viewport: { width: 360, height: 740 } })
    await fillCart(page, 'black-tea')
    await picture(page, `phone-${locale.slice(0, 2)}`)
    await page.click('#cart-bar')
    await toCheckout(page)
    await fits(page)
    await page.click('#buy')
    await placed(page)
    await fits(page)
    for (const path of ['/', '/orders', '/wallet', '/profile', '/nothing']) {
      await page.goto(shop.url + path)
      await page.waitForSelector('h1')
      await fits(page)
    }
    await end()
  }
})

async function fits (page) {
  const { wide, small } = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    small: [...document.querySelectorAll('main button, main .button, main input')].filter(element => element.offsetParent && element.getBoundingClientRect().height < 40).map(element => element.id)
  }))
  assert.deepEqual([wide, small], [0, []], page.url())
}

test('by keyboard alone: from the products to the order', async () => {
  const { pages: [page], end } = await visit(1)
  const customer = await customerOf()
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute('href'))
  const tabTo = async id => {
    for (let n = 0; n < 60 && await focused() !== id; n++) await page.keyboard.press('Tab')
    assert.equal(await focused(), id)
  }
  await page.keyboard.press('Tab')
  assert.equal(await focused(), '#main')
  await page.keyboard.press('Enter')
  await tabTo('add-green-tea')
  await page.keyboard.press('Enter')
  await page.waitForSelector('#more-green-tea')
  assert.equal(await focused(), 'add-green-tea')
  await tabTo('more-green-tea')
  await page.keyboard.press('Space')
  await shows(page, '[data-sku=green-tea] output', '2')
  assert.equal(await focused(), 'more-green-tea')
  await tabTo('/checkout').catch(() => tabTo('to-checkout'))
  await page.keyboard.press('Enter')
  await page.waitForSelector('#note')
  await tabTo('note')
  await page.keyboard.type('Thanks')
  await page.keyboard.press('Enter')
  await placed(page)
  await page.waitForFunction(() => document.activeElement.tagName === 'H1')
  assert.deepEqual([await ordersOf(customer), await balanceOf(customer)], [1, 84000])
  await end()
})

test('the dialog keeps the focus, is left by Escape, and gives the focus back', async () => {
  const { b, end } = await unsaved('B', 'A')
  await b.focus('#save')
  await b.keyboard.press('Enter')
  await b.waitForSelector('dialog[open]')
  const inside = () => b.evaluate(() => document.querySelector('dialog').contains(document.activeElement))
  for (const key of ['Tab', 'Tab', 'Tab', 'Tab', 'Tab', 'Tab', 'Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab']) {
    await b.keyboard.press(key)
    assert.ok(await inside(), key)
  }
  const dialog = await b.evaluate(() => {
    const element = document.querySelector('dialog')
    return [element.matches(':modal'), document.getElementById(element.getAttribute('aria-labelledby')).textContent]
  })
  assert.deepEqual(dialog, [true, 'Somebody else has changed this'])
  await b.keyboard.press('Escape')
  await b.waitForSelector('dialog', { state: 'detached' })
  assert.equal(await b.evaluate(() => document.activeElement.id), 'save')
  await end()
})

// What can be told from the page alone: names, headings, language, contrast
const FAULTS = () => {
  const visible = element => element.offsetParent !== null && !element.closest('[hidden]')
  const nameOf = element => (element.getAttribute('aria-label') ?? element.textContent).trim() || [...(element.labels ?? [])].map(label => label.textContent).join('').trim()
  const luminance = colour => {
    const [r, g, b] = colour.match(/[\d.]+/g).map(Number).map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor
      if (!/, 0\)$/.test(colour)) return colour
    }
    return 'rgb(255, 255, 255)'
  }
  const contrast = element => {
    const [x, y] = [luminance(getComputedStyle(element).color), luminance(behind(element))]
    return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)
  }
  const all = selector => [...document.querySelectorAll(selector)].filter(visible)
  const texts = all('body *').filter(element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
  const ids = [...document.querySelectorAll('[id]')].map(element => element.id)
  return [
    ...all('a, button, input, select, textarea').filter(element => !nameOf(element)).map(element => `no name: ${element.outerHTML}`),
    ...all('img').filter(image => !image.hasAttribute('alt')).map(image => `no alt: ${image.src}`),
    ...texts.filter(element => !element.closest('[disabled], [aria-disabled=true]') && contrast(element) < 4.5).map(element => `contrast ${contrast(element).toFixed(1)}: ${element.textContent}`),
    ...(document.querySelectorAll('h1').length === 1 ? [] : ['not one h1']),
    ...ids.filter((id, n) => ids.indexOf(id) !== n).map(id => `two of ${id}`),
    ...[...document.querySelectorAll('[aria-labelledby], [aria-describedby]')].filter(element => ['aria-labelledby', 'aria-describedby'].some(name => element.hasAttribute(name) && !document.getElementById(element.getAttribute(name)))).map(element => `names what is not there: ${element.outerHTML}`),
    ...['main', 'nav', 'header', '[aria-live=polite]', '[role=alert]', 'html[lang]'].filter(selector => !document.querySelector(selector)).map(selector => `no ${selector}`),
    ...(document.title ? [] : ['no title'])
  ]
}

test('every page: names, one heading, alternative texts, contrast', async () => {
  const { pages: [page], end } = await visit(1)
  await fillCart(page, 'cup')
  assert.deepEqual(await page.evaluate(FAULTS), [], 'shop')
  await toCheckout(page)
  assert.deepEqual(await page.evaluate(FAULTS), [], 'checkout')
  await page.click('#buy')
  await placed(page)
  for (const path of [here(page), '/orders', '/wallet', '/profile']) {
    await page.goto(shop.url + path)
    await isLive(page)
    assert.deepEqual(await page.evaluate(FAULTS), [], path)
  }
  await end()
})
