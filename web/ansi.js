// SPDX-License-Identifier: Apache-2.0
// Turns terminal text into styled pieces. Knows colours and bold (SGR); swallows every other
// escape sequence, so that output which drives a cursor stays readable.

const PLAIN = Object.freeze({fg: '', bold: false, dim: false});

// One sequence: CSI, OSC (ended by BEL or ST), or a two-character escape.
const SEQUENCE = /\x1b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\-~])/y;
const MAX_SEQUENCE = 256;

const EIGHT = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];

function applyCodes(state, text) {
  const next = {...state};
  const codes = text === '' ? [0] : text.split(/[;:]/).map(Number);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) Object.assign(next, PLAIN);
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code >= 30 && code <= 37) next.fg = EIGHT[code - 30];
    else if (code >= 90 && code <= 97) next.fg = EIGHT[code - 90];
    else if (code === 39) next.fg = '';
    else if (code === 38 || code === 48) i += codes[i + 1] === 5 ? 2 : 4;
  }
  return next;
}

/** Keeps colours across pieces of one stream: stdout and stderr each have their own. */
export class AnsiDecoder {
  constructor() {
    this.state = PLAIN;
    this.rest = '';
  }

  /** Calls emit(text, className) for every run of equally styled text. */
  write(text, emit) {
    text = this.rest + text;
    this.rest = '';
    let from = 0;
    for (;;) {
      const escape = text.indexOf('\x1b', from);
      if (escape < 0) break;
      if (escape > from) emit(text.slice(from, escape), this.className());
      SEQUENCE.lastIndex = escape;
      const match = SEQUENCE.exec(text);
      if (!match) {
        // Cut off in the middle: wait for the rest, but never for long.
        if (text.length - escape < MAX_SEQUENCE) {
          this.rest = text.slice(escape);
          return;
        }
        from = escape + 1;
        continue;
      }
      if (match[2] === 'm') this.state = applyCodes(this.state, match[1]);
      from = SEQUENCE.lastIndex;
    }
    if (from < text.length) emit(text.slice(from), this.className());
  }

  className() {
    const names = [];
    if (this.state.fg) names.push('fg-' + this.state.fg);
    if (this.state.bold) names.push('bold');
    if (this.state.dim) names.push('dim');
    return names.join(' ');
  }
}
