// SPDX-License-Identifier: Apache-2.0
// Numbers that the same seed gives again.

export class Random {
  constructor(...seed) {
    // FNV-1a over the words of the seed.
    this.state = 0x811c9dc5;
    for (const byte of Buffer.from(seed.join('/'))) {
      this.state = Math.imul(this.state ^ byte, 0x01000193) >>> 0;
    }
  }

  /** 0 <= n < 1; mulberry32. */
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number below `end`. */
  below(end) { return Math.floor(this.next() * end); }
  between(low, high) { return low + this.next() * (high - low); }
  chance(p) { return this.next() < p; }
  pick(list) { return list[this.below(list.length)]; }

  /** One of [[weight, value], ...]. */
  weighted(choices) {
    let at = this.next() * choices.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, value] of choices) {
      at -= weight;
      if (at < 0) return value;
    }
    return choices.at(-1)[1];
  }
}
