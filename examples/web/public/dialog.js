// The dialog of a 412: mine and theirs, field by field.
//
// Each row is { field, label, base, mine, theirs }: what was there when the person began, what
// they want, what is there now. Where only one side has changed a field its value is chosen
// already; where both have, the person must choose. Returns { field: 'mine' | 'theirs' }, or null.
import { h } from './dom.js'
import { text } from './text.js'

export function resolveConflict (rows) {
  const differing = rows.filter(row => row.mine !== row.theirs)
  if (differing.length === 0) return Promise.resolve({})
  return new Promise(resolve => {
    const opener = document.activeElement
    const form = h('form', { method: 'dialog' }, differing.map(fieldset), h('div', { class: 'buttons' },
      h('button', { type: 'button', class: 'quiet', id: 'all-mine', onclick: () => all('mine') }, text('all_mine')),
      h('button', { type: 'button', class: 'quiet', id: 'all-theirs', onclick: () => all('theirs') }, text('all_theirs')),
      h('span', { class: 'space' }),
      h('button', { type: 'button', id: 'back', onclick: () => dialog.close() }, text('back_to_form')),
      h('button', { type: 'submit', class: 'primary', id: 'save-choice', value: 'save' }, text('save_choices'))))
    const dialog = h('dialog', { id: 'conflict', 'aria-labelledby': 'conflict-title', 'aria-describedby': 'conflict-lead', onkeydown: trap },
      h('h2', { id: 'conflict-title' }, text('conflict_title')),
      h('p', { id: 'conflict-lead' }, text('conflict_lead')),
      form)

    function all (side) {
      form.querySelectorAll(`input[value=${side}]`).forEach(input => { input.checked = true })
    }

    dialog.addEventListener('close', () => {
      const choices = Object.fromEntries(new FormData(form))
      dialog.remove()
      if (opener?.isConnected) opener.focus()
      else document.getElementById(opener?.id)?.focus()
      resolve(dialog.returnValue === 'save' ? choices : null)
    })
    document.body.append(dialog)
    dialog.showModal()
    form.querySelector('input:checked, input').focus()
  })
}

function fieldset (row) {
  const yours = row.mine !== row.base
  const others = row.theirs !== row.base
  const chosen = yours && others ? null : yours ? 'mine' : 'theirs'
  const option = (side, value) => h('label', { class: 'option' },
    h('input', { type: 'radio', name: row.field, value: side, id: `${row.field}-${side}`, required: true, checked: chosen === side }),
    h('span', {}, h('small', {}, text(side)), h('span', { class: 'value' }, value === '' ? text('empty') : String(value))))
  return h('fieldset', {},
    h('legend', {}, row.label, ' ', h('small', {}, text(yours && others ? 'both' : yours ? 'only_you' : 'only_they'))),
    option('mine', row.mine), option('theirs', row.theirs))
}

// Tab goes round within the dialog. (Of a group of radio buttons one is a stop.)
function trap (event) {
  if (event.key !== 'Tab') return
  const stops = [...event.currentTarget.querySelectorAll('input, button')].filter(isStop)
  const [first, last] = [stops[0], stops.at(-1)]
  if (event.shiftKey && document.activeElement === first) { event.preventDefault(); last.focus() }
  if (!event.shiftKey && document.activeElement === last) { event.preventDefault(); first.focus() }
}

function isStop (element) {
  if (element.type !== 'radio') return true
  const group = [...element.form.elements].filter(other => other.name === element.name)
  return element === (group.find(other => other.checked) ?? group[0])
}
