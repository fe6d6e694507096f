// SPDX-License-Identifier: Apache-2.0
// What a run without violations did, as a section of bench/RESULTS.md.

export class Summary {
  constructor(run) {
    this.run = run;
    this.title = 'Chaos';
  }

  text() {
    const {seed, ms, operations, kills, tallies, snapshots, checks} = this.run;
    const lines = ['| operation | answered | cut off or refused |', '|---|---|---|'];
    for (const [kind, {done, cut}] of [...operations].sort()) lines.push(`| ${kind} | ${done} | ${cut} |`);
    const total = [...kills.values()].reduce((sum, one) => sum + one, 0);
    const each = [...kills].sort().map(([kind, count]) => `${kind} ${count}`).join(', ');
    const also = [...tallies].sort().map(([what, count]) => `${what}: ${count}`).join('; ');
    return [`## ${this.title}`, lines.join('\n'),
            `${(ms / 60_000).toFixed(1)} min with seed ${seed}; ${total} kills (SIGKILL: ${each}); ${snapshots} snapshots that
were answered, each restored at the end; ${checks} times \`restic check\`. In it ${also}. Violations: 0.`].join('\n\n') + '\n';
  }
}
