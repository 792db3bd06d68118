// The profile: a form that two windows may have open. It sends what was changed, with the version
// that it began with; when that is an old one, the person sees both and decides.
import { change } from '../api.js'
import { resolveConflict } from '../dialog.js'
import { h } from '../dom.js'
import { alert, announce, explain } from '../messages.js'
import { during, learn, peek } from '../store.js'
import { text } from '../text.js'

const FIELDS = [
  ['name', { autocomplete: 'name', maxlength: 60, required: true }], ['phone', { autocomplete: 'tel', type: 'tel', maxlength: 30 }],
  ['address', { autocomplete: 'street-address', maxlength: 200 }], ['message', { maxlength: 100 }]
]
const PATH = '/api/profile'

let base = null         // { etag, fields } as the form began
let draft = {}          // what was typed since

export function open () {
  base = null
  draft = {}
  return {
    title: () => text('profile_title'),
    needs: () => [PATH],
    view: () => [h('h1', { tabindex: -1 }, text('profile_title')), h('p', { class: 'lead' }, text('profile_lead')), ...content()]
  }
}

const valueIn = (fields, name) => fields[name] ?? ''
const mine = name => draft[name] ?? valueIn(base.fields, name)
const isDirty = () => FIELDS.some(([name]) => mine(name) !== valueIn(base.fields, name))

function content () {
  const known = peek(PATH)
  if (!known) return []
  // with nothing typed the form follows what is there; with something typed it stays as it is
  if (!base || !isDirty()) adopt(known)
  const stale = base.etag !== known.etag
  return [
    stale
      ? h('div', { class: 'notice', role: 'status' }, h('p', {}, text('unsaved')),
        h('button', { type: 'button', id: 'compare', onclick: () => merge(known) }, text('compare')))
      : null,
    h('form', { class: 'panel narrow', onsubmit: submit },
      FIELDS.map(([name, properties]) => h('div', { class: 'field' },
        h('label', { for: name }, text(`field_${name}`)),
        h('input', { id: name, name, value: mine(name), oninput: event => { draft[name] = event.target.value }, ...properties }))),
      h('button', { type: 'submit', class: 'primary', id: 'save' }, text('save')))
  ]
}

function adopt ({ etag, body }) {
  base = { etag, fields: body.fields }
  draft = {}
}

async function submit (event) {
  event.preventDefault()
  await save()
}

async function save () {
  const patch = Object.fromEntries(FIELDS.map(([name]) => [name, mine(name).trim()]).filter(([name, value]) => value !== valueIn(base.fields, name)))
  if (Object.keys(patch).length === 0) return announce(text('saved'))
  try {
    await during(async () => {
      const answer = await change('PATCH', PATH, patch, { ifMatch: base.etag })
      adopt(answer)
      learn(PATH, answer)
    })
    announce(text('saved'))
  } catch (error) {
    if (error.status !== 412) return alert(explain(error))
    const theirs = { etag: error.etag, body: error.current }
    learn(PATH, theirs)
    await merge(theirs)
  }
}

// What was chosen becomes the form's, on top of what is there now, and is saved.
async function merge (theirs) {
  const rows = FIELDS.map(([name]) => ({
    field: name, label: text(`field_${name}`), base: valueIn(base.fields, name), mine: mine(name).trim(), theirs: valueIn(theirs.body.fields, name)
  }))
  const choices = await resolveConflict(rows)
  if (choices === null) return
  adopt(theirs)
  for (const { field, mine } of rows) if (choices[field] === 'mine') draft[field] = mine
  if (isDirty()) await save()
  else { learn(PATH, theirs); announce(text('saved')) }
}
