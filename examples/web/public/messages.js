// What the page says beside its content: shown for a while, and read out by screen readers.
import { number, points, productName, text } from './text.js'

function show (id, message) {
  const line = document.createElement('p')
  line.textContent = message
  document.getElementById(id).replaceChildren(line)
  setTimeout(() => line.remove(), 8000)
}

export const announce = message => show('announcements', message)
export const alert = message => show('alerts', message)

// A refusal in words
export function explain (error) {
  if (!error.code) { console.error(error) }
  const account = String(error.aggregate_id ?? '')
  if (error.code === 'insufficient_balance' && account.startsWith('stock/')) {
    return text('problem_stock', { product: productName(account.slice(6)), available: number(error.available) })
  }
  if (error.code === 'insufficient_balance') {
    return text('problem_insufficient_balance', { available: points(error.available), wanted: points(-error.requested) })
  }
  if (error.code === 'transition_not_allowed') {
    return text('problem_transition_not_allowed', { state: text(`state_${error.state}`) })
  }
  if (error.code === 'invalid_field') return text('problem_invalid_field', { field: error.field })
  const key = `problem_${error.code}`
  return text(key) === key ? text('problem_other', { code: error.code ?? error.name }) : text(key)
}
