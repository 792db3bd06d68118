import { h, link } from '../dom.js'
import { text } from '../text.js'

export function open () {
  return {
    title: () => text('not_found'),
    needs: () => [],
    view: () => [h('h1', { tabindex: -1 }, text('not_found')), h('p', {}, link('/', text('to_shop')))]
  }
}
