// SPDX-License-Identifier: Apache-2.0
// Many who look, or one who changes. Who changes waits; who only looks does something else meanwhile.

export class SharedLock {
  constructor() {
    this.looking = 0;
    this.changing = false;
    this.freed = [];
  }

  async change(work) {
    while (this.changing || this.looking > 0) await new Promise((resolve) => this.freed.push(resolve));
    this.changing = true;
    try {
      return await work();
    } finally {
      this.changing = false;
      this.free();
    }
  }

  /** Null while somebody changes it. */
  async tryLook(work) {
    if (this.changing) return null;
    this.looking += 1;
    try {
      return await work();
    } finally {
      this.looking -= 1;
      this.free();
    }
  }

  free() {
    for (const wake of this.freed.splice(0)) wake();
  }
}
