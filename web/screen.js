// SPDX-License-Identifier: Apache-2.0
// The output area: lines of text in the page, bounded however much a command prints. Text is
// collected and drawn once per animation frame.

import {AnsiDecoder} from './ansi.js';

const MAX_LINES = 4000;
const MAX_LINE_CHARS = 20000;
const MAX_PENDING_CHARS = 1 << 20;

export class Screen {
  constructor(element) {
    this.element = element;
    this.clear();
  }

  clear() {
    this.element.replaceChildren();
    this.pending = [];
    this.pendingChars = 0;
    this.dropped = false;
    this.decoders = {stdout: new AnsiDecoder(), stderr: new AnsiDecoder()};
    this.line = null;
    this.lineChars = 0;
    this.carriageReturn = false;
    this.frame = 0;
  }

  write(stream, text) {
    this.pending.push([stream, text]);
    this.pendingChars += text.length;
    while (this.pendingChars > MAX_PENDING_CHARS && this.pending.length > 1) {
      this.pendingChars -= this.pending.shift()[1].length;
      this.dropped = true;
    }
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  /** A line of the page's own, such as the command that was started. */
  note(className, text) {
    this.draw();
    if (this.line && this.lineChars === 0) this.line.remove();
    this.startLine();
    this.line.classList.add(className);
    this.append(text, '');
    this.line = null;
    this.scroll();
  }

  draw() {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (this.pending.length === 0) return;
    const pinned = this.isPinned();
    const work = this.newestLines(this.pending);
    this.pending = [];
    this.pendingChars = 0;
    if (this.dropped) {
      this.dropped = false;
      this.line = null;
      this.startLine();
      this.line.classList.add('note');
      this.append('… output came faster than it can be shown; some is left out …', '');
      this.line = null;
    }
    for (const [stream, text] of work) {
      this.decoders[stream].write(text, (piece, style) => this.put(piece, `${stream} ${style}`));
    }
    const extra = this.element.childElementCount - MAX_LINES;
    for (let i = 0; i < extra; i++) this.element.firstElementChild.remove();
    if (pinned) this.scroll();
  }

  /** The end of what waits to be drawn: lines that would be removed again are never made. */
  newestLines(pieces) {
    let lines = 0;
    for (let i = pieces.length - 1; i >= 0; i--) {
      const [stream, text] = pieces[i];
      for (let at = text.lastIndexOf('\n'); at >= 0; at = text.lastIndexOf('\n', at - 1)) {
        if (++lines > MAX_LINES) {
          this.dropped = true;
          return [[stream, text.slice(at + 1)], ...pieces.slice(i + 1)];
        }
        if (at === 0) break;
      }
    }
    return pieces;
  }

  put(text, className) {
    for (const part of text.split(/(\r\n|\n|\r)/)) {
      if (part === '') continue;
      if (part === '\n' || part === '\r\n') {
        if (!this.line) this.startLine();
        this.line = null;
        this.carriageReturn = false;
      } else if (part === '\r') {
        this.carriageReturn = true;
      } else {
        if (!this.line) this.startLine();
        if (this.carriageReturn) {
          this.line.replaceChildren();
          this.lineChars = 0;
          this.carriageReturn = false;
        }
        this.append(part, className);
      }
    }
  }

  append(text, className) {
    if (this.lineChars >= MAX_LINE_CHARS) return;
    text = text.slice(0, MAX_LINE_CHARS - this.lineChars);
    this.lineChars += text.length;
    const last = this.line.lastElementChild;
    if (last && last.className === className) {
      last.firstChild.appendData(text);
      return;
    }
    const span = document.createElement('span');
    span.className = className;
    span.append(document.createTextNode(text));
    this.line.append(span);
  }

  startLine() {
    this.line = document.createElement('div');
    this.line.className = 'line';
    this.lineChars = 0;
    this.element.append(this.line);
  }

  isPinned() {
    const box = this.element;
    return box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  }

  scroll() {
    this.element.scrollTop = this.element.scrollHeight;
  }
}
