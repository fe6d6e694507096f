// SPDX-License-Identifier: Apache-2.0

/** What Atoll refused or could not do: its code, and the status of its answer. */
export class AtollError extends Error {
  override name = 'AtollError';

  constructor(
    message: string,
    /** SCREAMING_SNAKE: "FILE_NOT_FOUND", "GIT_AUTH_FAILED", ... */
    readonly code: string,
    /** Of HTTP; 0 for what came in a stream. */
    readonly status: number,
    readonly suggestion?: string,
    readonly requestId?: string,
  ) {
    super(message);
  }
}
