// SPDX-License-Identifier: Apache-2.0
// Made by generate.mjs of /v1/openapi.json. Not to be edited.

/** What answers are made of. */
export interface Schemas {
  BridgeClosedSession: {
    success: true;
    sessionId: string;
  };
  BridgeError: {
    /** What was tried, on what, and why it failed. */
    error: string;
    /** The reason. */
    code: string;
  };
  BridgeId: {
    id: string;
  };
  BridgeRunning: {
    running: boolean;
  };
  BridgeTunnel: {
    id: string;
    port: number;
    url: string;
    hostname: string;
    createdAt: string;
    name?: string;
  };
  Bucket: {
    bucket: string;
    path: string;
    endpoint: string;
    region: string;
    prefix: string;
    readOnly: boolean;
    /** The name of a credential that the daemon has. */
    secret?: string;
    mounted: boolean;
    failure?: string;
  };
  BucketList: {
    buckets: Schemas['Bucket'][];
  };
  Changes: {
    status: 'unchanged' | 'changed' | 'resync';
    /** "since" of the next request. */
    version: string;
    entries: number;
  };
  CloneCompleteEvent: {
    type: 'complete';
    repo: string;
    dir: string;
    branch: string;
    commit: string;
  };
  CloneEvent: Schemas['CloneProgressEvent'] | Schemas['CloneCompleteEvent'] | Schemas['ErrorEvent'];
  CloneProgressEvent: {
    type: 'progress';
    phase: string;
    done: number;
    total: number;
  };
  ClonedRepository: {
    repo: string;
    dir: string;
    branch: string;
    commit: string;
  };
  CodeCompleteEvent: {
    type: 'complete';
    timestamp: string;
    contextId: string;
    success: boolean;
    executionCount: number;
    timedOut: boolean;
    /** Another kernel has its place, and what was defined is lost. */
    restarted: boolean;
    truncated: boolean;
    durationMs: number;
  };
  CodeContext: {
    id: string;
    language: 'python' | 'javascript' | 'typescript';
    cwd: string;
    createdAt: string;
    lastUsed: string;
    executionCount: number;
    busy: boolean;
  };
  CodeContextList: {
    contexts: Schemas['CodeContext'][];
  };
  CodeError: {
    name: string;
    message: string;
    traceback: string[];
  };
  CodeErrorEvent: {
    type: 'error';
    timestamp: string;
    name: string;
    message: string;
    traceback: string[];
  };
  CodeEvent: Schemas['CodeOutputEvent'] | Schemas['CodeResultEvent'] | Schemas['CodeErrorEvent'] | Schemas['CodeCompleteEvent'] | Schemas['CodeFailureEvent'];
  CodeExecution: {
    logs: Schemas['CodeLogs'];
    results: Schemas['CodeResult'][];
    error?: Schemas['CodeError'];
    contextId: string;
    success: boolean;
    executionCount: number;
    timedOut: boolean;
    /** Another kernel has its place, and what was defined is lost. */
    restarted: boolean;
    truncated: boolean;
    durationMs: number;
  };
  CodeFailureEvent: {
    type: 'failure';
    code: string;
    message: string;
    timestamp: string;
  };
  CodeLogs: {
    stdout: string[];
    stderr: string[];
  };
  CodeOutputEvent: {
    type: 'stdout' | 'stderr';
    text: string;
    timestamp: string;
  };
  CodeResult: {
    text?: string;
    html?: string;
    markdown?: string;
    svg?: string;
    /** In base64, as jpeg and pdf. */
    png?: string;
    jpeg?: string;
    pdf?: string;
    latex?: string;
    json?: unknown;
    javascript?: string;
    chart?: unknown;
    /** The value of the last expression, which was not displayed. */
    isValue: boolean;
  };
  CodeResultEvent: {
    type: 'result';
    timestamp: string;
    text?: string;
    html?: string;
    markdown?: string;
    svg?: string;
    /** In base64, as jpeg and pdf. */
    png?: string;
    jpeg?: string;
    pdf?: string;
    latex?: string;
    json?: unknown;
    javascript?: string;
    chart?: unknown;
    /** The value of the last expression, which was not displayed. */
    isValue: boolean;
  };
  CreatedSandbox: {
    id: string;
    /** Where a browser finds it. */
    url: string;
    state: 'creating' | 'running' | 'paused' | 'stopping' | 'stopped' | 'restoring' | 'failed' | 'deleting';
    opencode: 'stopped' | 'starting' | 'ready' | 'failed';
    /** How long each part of it took. */
    phases: Record<string, number>;
    /** What was put back at its start. */
    restored?: Schemas['RestoredDirectory'][];
  };
  Done: {
    success: true;
  };
  Error: {
    /** The reason: SANDBOX_NOT_FOUND, ... */
    code: string;
    /** What was tried, on what, and why it failed. */
    message: string;
    /** Which request it was. */
    context?: Schemas['ErrorContext'];
    /** What may help. */
    suggestion?: string;
  };
  ErrorContext: {
    /** As X-Request-Id has it. */
    requestId: string;
    method: string;
    path: string;
  };
  ErrorEvent: {
    type: 'error';
    code: string;
    message: string;
  };
  ExecCompleteEvent: {
    type: 'complete';
    timestamp: string;
    success: boolean;
    /** 128 and the signal's number when one has ended it; 124: it timed out. */
    exitCode: number;
    /** "SIGKILL", ... */
    signal?: string;
    durationMs: number;
    timedOut: boolean;
    /** There was more output than maxOutputBytes. */
    truncated: boolean;
    oomKilled: boolean;
    cpuMs: number;
    maxRssBytes: number;
    pid: number;
  };
  ExecEvent: Schemas['StartEvent'] | Schemas['OutputEvent'] | Schemas['ExecCompleteEvent'] | Schemas['OutputErrorEvent'];
  ExecResult: {
    stdout: string;
    stdoutEncoding: 'utf-8' | 'base64';
    stdoutTruncated?: true;
    stderr: string;
    stderrEncoding: 'utf-8' | 'base64';
    stderrTruncated?: true;
    success: boolean;
    /** 128 and the signal's number when one has ended it; 124: it timed out. */
    exitCode: number;
    /** "SIGKILL", ... */
    signal?: string;
    durationMs: number;
    timedOut: boolean;
    /** There was more output than maxOutputBytes. */
    truncated: boolean;
    oomKilled: boolean;
    cpuMs: number;
    maxRssBytes: number;
    pid: number;
  };
  ExposedPort: {
    url: string;
    port: number;
    name: string;
    token: string;
    signed: boolean;
    createdAt: string;
    expiresAt: string | null;
  };
  ExposedPortList: {
    ports: Schemas['ExposedPort'][];
  };
  File: {
    path: string;
    name: string;
    type: 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'device';
    size: number;
    /** Octal: "0644". */
    mode: string;
    uid: number;
    gid: number;
    modifiedAt: string;
    /** Of a symlink. */
    target?: string;
  };
  FileEvent: {
    type: 'event';
    eventType: 'create' | 'modify' | 'delete' | 'move_from' | 'move_to' | 'attrib';
    path: string;
    isDirectory: boolean;
    /** The same for both halves of a move. */
    cookie?: number;
    timestamp: string;
  };
  FileExists: {
    exists: boolean;
  };
  FileList: {
    path: string;
    files: Schemas['File'][];
    count: number;
    /** What could not be read. */
    skipped?: number;
    /** For the next request, if there are more. */
    cursor?: string;
  };
  Forked: {
    sandboxes: Schemas['CreatedSandbox'][];
    files: number;
    bytes: number;
    /** They share the bytes of their files until one changes them. */
    shared: boolean;
    frozen: boolean;
    memory: boolean;
    copyMs: number;
    freezeMs: number;
  };
  GitBranch: {
    name: string;
    /** The same in base64, when it is no text. */
    nameBase64?: string;
    commit: string;
    remote: boolean;
    current: boolean;
    upstream?: string;
    /** The same in base64, when it is no text. */
    upstreamBase64?: string;
    date?: string;
    subject: string;
  };
  GitBranchList: {
    branches: Schemas['GitBranch'][];
    branch: string | null;
    /** null before the first. */
    commit: string | null;
    detached: boolean;
  };
  GitChange: {
    path: string;
    /** The same in base64, when it is no text. */
    pathBase64?: string;
    /** What it was called before. */
    from?: string;
    /** The same in base64, when it is no text. */
    fromBase64?: string;
    index: 'modified' | 'typechange' | 'added' | 'deleted' | 'renamed' | 'copied' | 'unmerged' | 'untracked' | 'ignored' | 'unmodified';
    worktree: 'modified' | 'typechange' | 'added' | 'deleted' | 'renamed' | 'copied' | 'unmerged' | 'untracked' | 'ignored' | 'unmodified';
    conflict?: true;
    submodule?: true;
  };
  GitCommit: {
    commit: string;
    parents: string[];
    author: Schemas['GitPerson'];
    committer: Schemas['GitPerson'];
    refs: string[];
    message: string;
  };
  GitCommitted: {
    details: Schemas['GitCommit'];
    branch: string | null;
    /** null before the first. */
    commit: string | null;
    detached: boolean;
  };
  GitDiff: {
    files: Schemas['GitFileDiff'][];
    more: boolean;
    patch: string;
    /** The same in base64, when it is no text. */
    patchBase64?: string;
    patchTruncated: boolean;
  };
  GitFileDiff: {
    path: string;
    /** The same in base64, when it is no text. */
    pathBase64?: string;
    from?: string;
    /** The same in base64, when it is no text. */
    fromBase64?: string;
    status: 'modified' | 'typechange' | 'added' | 'deleted' | 'renamed' | 'copied' | 'unmerged' | 'untracked' | 'ignored' | 'unmodified';
    /** Lines. */
    added?: number;
    removed?: number;
    binary: boolean;
  };
  GitHead: {
    branch: string | null;
    /** null before the first. */
    commit: string | null;
    detached: boolean;
  };
  GitLog: {
    commits: Schemas['GitCommit'][];
    more: boolean;
  };
  GitPerson: {
    name: string;
    email: string;
    date?: string;
  };
  GitPulled: {
    before: string | null;
    changed: boolean;
    branch: string | null;
    /** null before the first. */
    commit: string | null;
    detached: boolean;
  };
  GitPushed: {
    refs: Schemas['GitPushedRef'][];
  };
  GitPushedRef: {
    ref: string;
    /** The same in base64, when it is no text. */
    refBase64?: string;
    status: 'forced' | 'deleted' | 'new' | 'rejected' | 'unchanged' | 'updated';
    summary: string;
  };
  GitStatus: {
    upstream: string | null;
    ahead?: number;
    behind?: number;
    clean: boolean;
    conflicts: boolean;
    changes: Schemas['GitChange'][];
    more: boolean;
    branch: string | null;
    /** null before the first. */
    commit: string | null;
    detached: boolean;
  };
  GrepMatch: {
    path: string;
    line: number;
    /** Of its first byte; from 1. */
    column?: number;
    text: string;
  };
  GrepResult: {
    matches: Schemas['GrepMatch'][];
    count: number;
    more: boolean;
    timedOut: boolean;
  };
  Limits: {
    cpus: number;
    memory: number;
    processes: number;
    disk: number;
    files: number;
    weight: number;
  };
  ListeningPort: {
    port: number;
    address: string;
    /** For its owner. */
    url: string;
    process?: Schemas['ListeningProcess'];
    exposed: Schemas['ExposedPort'] | null;
  };
  ListeningPortList: {
    ports: Schemas['ListeningPort'][];
    /** false: there are more than are told. */
    complete: boolean;
  };
  ListeningProcess: {
    pid: number;
    name: string;
    argv: string[];
  };
  LogChunk: {
    stream: 'stdout' | 'stderr';
    offset: number;
    time: string;
    data?: string;
    /** Instead, when it is no text. */
    base64?: string;
  };
  LogEvent: Schemas['LogOutputEvent'] | Schemas['ProcessExitEvent'] | Schemas['OutputErrorEvent'];
  LogOutputEvent: {
    offset: number;
    type: 'stdout' | 'stderr';
    data?: string;
    /** Instead, when it is no text. */
    base64?: string;
    timestamp: string;
  };
  McpAnswer: {
    /** "2.0" */
    jsonrpc: string;
    /** That of the request. */
    id: unknown;
    result?: Record<string, unknown>;
    /** Instead. */
    error?: Schemas['McpError'];
  };
  McpError: {
    code: number;
    message: string;
  };
  McpFailure: {
    /** "2.0" */
    jsonrpc: string;
    /** That of the request, or null. */
    id: unknown;
    error: Schemas['McpError'];
  };
  Ok: {
    ok: true;
  };
  OutputErrorEvent: {
    type: 'error';
    /** What failed, and why. */
    error: string;
    code: string;
    timestamp?: string;
  };
  OutputEvent: {
    type: 'stdout' | 'stderr';
    data?: string;
    /** Instead, when it is no text. */
    base64?: string;
    timestamp: string;
  };
  OverflowEvent: {
    type: 'overflow';
    timestamp: string;
  };
  PoolConfig: {
    warmTarget: number;
    /** Milliseconds. */
    refreshInterval: number;
    min: number;
    max: number;
    maxInstances: number;
    scaleBatchSize: number;
  };
  PoolStats: {
    warm: number;
    assigned: number;
    total: number;
    starting: number;
    wanted: number;
    hits: number;
    misses: number;
    config: Schemas['PoolConfig'];
    /** null: there is no limit. */
    maxInstances: number | null;
  };
  PresignedArchive: {
    snapshotId: string;
    url: string;
    bytes: number;
    validSeconds: number;
  };
  Process: {
    id: string;
    command: string;
    status: 'running' | 'exited' | 'killed' | 'error';
    pid: number;
    cwd: string;
    user?: string;
    restart: 'never' | 'on-failure' | 'always';
    restarts: number;
    service?: true;
    keepAwake?: boolean;
    startTime?: string;
    endTime?: string;
    exitCode?: number;
    signal?: string;
    oomKilled?: boolean;
    cpuMs?: number;
    maxRssBytes?: number;
    /** Why it could not be started. */
    error?: string;
    /** The offset of the oldest output that is kept. */
    logBegin: number;
    logEnd: number;
  };
  ProcessExitEvent: {
    type: 'exit';
    exitCode: number;
    process: Schemas['Process'];
  };
  ProcessList: {
    processes: Schemas['Process'][];
  };
  ProcessLogs: {
    chunks: Schemas['LogChunk'][];
    nextOffset: number;
    process: Schemas['Process'];
  };
  ProgressEvent: {
    type: 'progress';
    phase: string;
    filesDone: number;
    filesTotal: number;
    bytesDone: number;
    bytesTotal: number;
    bytesPerSecond?: number;
    secondsLeft?: number;
  };
  RestoreCompleteEvent: {
    type: 'complete';
    snapshotId: string;
    dir: string;
    files: number;
    bytesTotal: number;
    filesWritten: number;
    bytesWritten: number;
    filesKept: number;
    removed: number;
    specialSkipped: number;
    /** Not at once: there was no room for both. */
    piecewise?: true;
    freezeMs: number;
    durationMs: number;
    phases: Record<string, number>;
  };
  RestoreEvent: Schemas['ProgressEvent'] | Schemas['RestoreCompleteEvent'] | Schemas['ErrorEvent'];
  RestoredDirectory: {
    dir: string;
    snapshotId: string;
    files: number;
  };
  RestoredSnapshot: {
    snapshotId: string;
    dir: string;
    files: number;
    bytesTotal: number;
    filesWritten: number;
    bytesWritten: number;
    filesKept: number;
    removed: number;
    specialSkipped: number;
    /** Not at once: there was no room for both. */
    piecewise?: true;
    freezeMs: number;
    durationMs: number;
    phases: Record<string, number>;
  };
  ResyncEvent: {
    type: 'resync';
    reason: string;
  };
  RunCompleteEvent: {
    type: 'complete';
    exitCode: number;
    timedOut?: true;
    outOfMemory?: true;
    oomKilled?: true;
    timestamp: string;
  };
  RunEvent: Schemas['StartEvent'] | Schemas['OutputEvent'] | Schemas['RunCompleteEvent'] | Schemas['OutputErrorEvent'];
  Sandbox: {
    id: string;
    /** Where a browser finds it. */
    url: string;
    state: 'creating' | 'running' | 'paused' | 'stopping' | 'stopped' | 'restoring' | 'failed' | 'deleting';
    image: string;
    createdAt: string;
    opencode: 'stopped' | 'starting' | 'ready' | 'failed';
    /** Bytes; the limits are 0 where there is none. */
    memory: number;
    cpus: number;
    pids: number;
    /** Bytes. */
    disk: number;
    inodes: number;
    weight: number;
    /** "10m", or "never". */
    sleepAfter: string;
    stopAfter: string;
    keepAlive: boolean;
    snapshots: Schemas['SnapshotPolicy'];
    usage?: Schemas['Usage'];
    /** It was stopped without being saved: saveFailure says why. */
    unsaved?: true;
    saveFailure?: string;
    /** Of one that is stopped: what ran goes on at the next start. */
    memoryKept?: boolean;
    /** Why it failed. */
    failure?: string;
  };
  SandboxEvent: {
    seq: number;
    at: string;
    /** Of the sandbox. */
    id: string;
    kind: string;
    state?: string;
    detail?: string;
  };
  SandboxEventList: {
    events: Schemas['SandboxEvent'][];
  };
  SandboxList: {
    sandboxes: Schemas['Sandbox'][];
    /** For the next request, if there are more. */
    cursor?: string;
  };
  SandboxState: {
    id: string;
    state: 'creating' | 'running' | 'paused' | 'stopping' | 'stopped' | 'restoring' | 'failed' | 'deleting' | 'deleted';
  };
  Session: {
    id: string;
    cwd: string;
    pid: number;
    user?: string;
    createdAt: string;
    commands: number;
    busy: boolean;
  };
  SessionList: {
    sessions: Schemas['Session'][];
  };
  Snapshot: {
    snapshotId: string;
    sandbox: string;
    dir: string;
    name: string;
    trigger: string;
    createdAt: string;
    expiresAt?: string;
    pinned: boolean;
    consistency: 'frozen' | 'best-effort';
    tags: string[];
    parent?: string;
    tree: string;
    hostname: string;
    files?: number;
    bytes?: number;
    bytesAdded?: number;
    filesNew?: number;
    filesChanged?: number;
  };
  SnapshotCompleteEvent: {
    type: 'complete';
    snapshotId: string;
    dir: string;
    name: string;
    /** "manual", "stop", ... */
    trigger: string;
    bytesAdded: number;
    bytesTotal: number;
    files: number;
    filesChanged: number;
    consistency: 'frozen' | 'best-effort';
    changedWhileRead: number;
    skipped: number;
    skippedPaths?: string[];
    /** It is the one that there was before. */
    unchanged?: true;
    freezeMs: number;
    durationMs: number;
    storeRequests: number;
    phases: Record<string, number>;
  };
  SnapshotDiff: {
    from: string;
    to: string;
    added: number;
    changed: number;
    removed: number;
    metadata: number;
    bytesAdded: number;
    bytesRemoved: number;
    truncated: boolean;
    entries: Schemas['SnapshotDiffEntry'][];
  };
  SnapshotDiffEntry: {
    change: 'added' | 'changed' | 'removed' | 'metadata';
    path: string;
    pathBase64?: string;
    type: 'file' | 'dir' | 'symlink' | 'fifo' | 'socket' | 'device' | 'unknown';
    oldSize: number;
    newSize: number;
  };
  SnapshotEvent: Schemas['ProgressEvent'] | Schemas['SnapshotCompleteEvent'] | Schemas['ErrorEvent'];
  SnapshotList: {
    snapshots: Schemas['Snapshot'][];
    /** For the next request, if there are more. */
    cursor?: string;
  };
  SnapshotNode: {
    name: string;
    nameBase64?: string;
    type: 'file' | 'dir' | 'symlink' | 'fifo' | 'socket' | 'device' | 'unknown';
    size: number;
    mode: string;
    uid: number;
    gid: number;
    mtime: string;
    target?: string;
    targetBase64?: string;
  };
  SnapshotPolicy: {
    onStop: boolean;
    onStart: boolean;
    /** "15m", or "never". */
    interval: string;
    paths: string[];
  };
  SnapshotTree: {
    snapshotId: string;
    path: string;
    node: Schemas['SnapshotNode'];
    entries: Schemas['SnapshotNode'][];
    /** For the next request, if there are more. */
    cursor?: string;
  };
  StartEvent: {
    type: 'start';
    command: string;
    pid?: number;
    timestamp: string;
  };
  StoppedSandbox: {
    id: string;
    state: 'creating' | 'running' | 'paused' | 'stopping' | 'stopped' | 'restoring' | 'failed' | 'deleting';
    saved: boolean;
    /** The ids of what was saved. */
    snapshots: string[];
    saveFailure?: string;
    memoryKept?: boolean;
    memoryFailure?: string;
  };
  TakenSnapshot: {
    snapshotId: string;
    dir: string;
    name: string;
    /** "manual", "stop", ... */
    trigger: string;
    bytesAdded: number;
    bytesTotal: number;
    files: number;
    filesChanged: number;
    consistency: 'frozen' | 'best-effort';
    changedWhileRead: number;
    skipped: number;
    skippedPaths?: string[];
    /** It is the one that there was before. */
    unchanged?: true;
    freezeMs: number;
    durationMs: number;
    storeRequests: number;
    phases: Record<string, number>;
  };
  Terminal: {
    name: string;
    command: string;
    pid: number;
    running: boolean;
    exitCode?: number;
    cols: number;
    rows: number;
    viewers: number;
    ageMs: number;
  };
  TerminalList: {
    terminals: Schemas['Terminal'][];
  };
  Unpacked: {
    entries: number;
    bytes: number;
  };
  Usage: {
    /** When this was; it has not run since the daemon started when it is not there. */
    at?: string;
    cpus?: number;
    /** Bytes. */
    memory?: number;
    processes?: number;
    /** Bytes through the network, since it was started. */
    sent?: number;
    received?: number;
    /** Bytes of its files. */
    disk?: number;
    files?: number;
    /** There is more than was counted. */
    diskAtLeast?: true;
    oomKills: number;
    lastOomAt?: string;
  };
  UsageReport: {
    id: string;
    state: 'creating' | 'running' | 'paused' | 'stopping' | 'stopped' | 'restoring' | 'failed' | 'deleting';
    now: Schemas['Usage'];
    /** 0 where there is none. */
    limits: Schemas['Limits'];
    /** Between the samples; milliseconds. */
    interval: number;
    /** Ten minutes of it, the oldest first. */
    history: Schemas['UsageSample'][];
  };
  UsageSample: {
    at: string;
    cpus: number;
    memory: number;
    processes: number;
    disk: number;
    sent: number;
    received: number;
  };
  Waited: Schemas['WaitedForExit'] | Schemas['WaitedForLog'] | Schemas['WaitedForPort'];
  WaitedForExit: {
    for: 'exit';
    exitCode: number;
    process: Schemas['Process'];
  };
  WaitedForLog: {
    for: 'log';
    stream: 'stdout' | 'stderr';
    line: string;
    /** What the expression caught. */
    groups: string[];
  };
  WaitedForPort: {
    for: 'port';
    port: number;
    /** What it answered. */
    status?: number;
  };
  WatchEvent: Schemas['WatchingEvent'] | Schemas['ResyncEvent'] | Schemas['FileEvent'] | Schemas['OverflowEvent'] | Schemas['WatchStoppedEvent'] | Schemas['ErrorEvent'];
  WatchStoppedEvent: {
    type: 'stopped';
    reason: string;
  };
  WatchingEvent: {
    type: 'watching';
    path: string;
    recursive: boolean;
    /** Watched. */
    directories: number;
    resumed: boolean;
  };
}

export interface Operations {
  /** One message of the Model Context Protocol, 2025-06-18. */
  callMcp: {
    path: Record<string, never>;
    query: {
      /** The tools work in this sandbox alone. */
      sandbox?: string;
    };
    body: Record<string, never>;
    answer: Schemas['McpAnswer'];
    event: never;
  };
  /** Ends a session. */
  endMcpSession: {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** Bridge: the same description. */
  bridgeGetOpenApi: {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: Record<string, unknown>;
    event: never;
  };
  /** This description. */
  getOpenApi: {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: Record<string, unknown>;
    event: never;
  };
  /** Fills the pool now. */
  primePool: {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Ok'];
    event: never;
  };
  /** Ends the sandboxes that wait. */
  shutdownPrewarmed: {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Ok'];
    event: never;
  };
  /** How many sandboxes wait, and how many were given away. */
  getPoolStats: {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['PoolStats'];
    event: never;
  };
  /** Bridge: a new id. Its first use makes the sandbox. */
  bridgeCreateSandbox: {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['BridgeId'];
    event: never;
  };
  /** Bridge: removes it, if it is there. */
  bridgeDeleteSandbox: {
    path: {
      sandbox: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** Bridge: runs a program; events stdout and stderr in base64, then exit or error. */
  bridgeExecCommand: {
    path: {
      sandbox: string;
    };
    query: Record<string, never>;
    body: {
      /** A program and its arguments. */
      argv: string[];
      /** Then it is ended; the exit code is 124. */
      timeout_ms?: number | null;
      /** /workspace or below it. */
      cwd?: string | null;
    };
    answer: never;
    event: never;
  };
  /** Bridge: the content of a file below /workspace; the path begins at the root. */
  bridgeReadFile: {
    path: {
      sandbox: string;
      path: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: never;
    event: never;
  };
  /** Bridge: makes or replaces a file of at most 32 MiB below /workspace. */
  bridgeWriteFile: {
    path: {
      sandbox: string;
      path: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Ok'];
    event: never;
  };
  /** Bridge: unpacks a tar of at most 32 MiB into /workspace. */
  bridgeHydrateWorkspace: {
    path: {
      sandbox: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Ok'];
    event: never;
  };
  /** Bridge: makes a bucket of an S3 store a directory. */
  bridgeMountBucket: {
    path: {
      sandbox: string;
    };
    query: Record<string, never>;
    body: {
      /** Its name. */
      bucket: string;
      /** Where it appears. */
      mountPath: string;
      /** endpoint, region, provider, prefix, readOnly, credentials, secret. */
      options?: Record<string, unknown> | null;
    };
    answer: Schemas['Ok'];
    event: never;
  };
  /** Bridge: /workspace as a tar. */
  bridgePersistWorkspace: {
    path: {
      sandbox: string;
    };
    query: {
      /** Paths in the workspace, by comma. */
      excludes?: string;
    };
    body: undefined;
    answer: never;
    event: never;
  };
  /** Bridge: a terminal. */
  bridgePtyTerminal: {
    path: {
      sandbox: string;
    };
    query: {
      /** 80 */
      cols?: number;
      /** 24 */
      rows?: number;
      /** bash */
      shell?: string;
      /** A terminal of this name; without, one that ends with the client. */
      session?: string;
    };
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** Bridge: starts it if it does not run. */
  bridgeIsSandboxRunning: {
    path: {
      sandbox: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['BridgeRunning'];
    event: never;
  };
  /** Bridge: opens a shell that lasts between commands, which name it by Session-Id. */
  bridgeCreateSession: {
    path: {
      sandbox: string;
    };
    query: Record<string, never>;
    body: {
      /** 1 to 128 letters, digits, '.', '_' and '-'; or a new one. */
      id?: string | null;
      /** Where it begins; /workspace when it is not there. */
      cwd?: string | null;
      /** Added to the sandbox's. */
      env?: Record<string, string> | null;
      /** Of commands that have none of their own. */
      commandTimeoutMs?: number | null;
    };
    answer: Schemas['BridgeId'];
    event: never;
  };
  /** Bridge: ends it and what runs in it. */
  bridgeDeleteSession: {
    path: {
      sandbox: string;
      session: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['BridgeClosedSession'];
    event: never;
  };
  /** Bridge: the preview URL of a port. */
  bridgeCreateTunnel: {
    path: {
      sandbox: string;
      port: string;
    };
    query: Record<string, never>;
    body: {
      /** For people. */
      name?: string | null;
    };
    answer: Schemas['BridgeTunnel'];
    event: never;
  };
  /** Bridge: takes the preview URL of a port back. */
  bridgeDeleteTunnel: {
    path: {
      sandbox: string;
      port: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** Bridge: takes it out again. */
  bridgeUnmountBucket: {
    path: {
      sandbox: string;
    };
    query: Record<string, never>;
    body: {
      /** Where it is mounted. */
      mountPath: string;
    };
    answer: Schemas['Ok'];
    event: never;
  };
  /** Every sandbox, by id. */
  listSandboxes: {
    path: Record<string, never>;
    query: {
      /** At most so many. */
      limit?: number;
      /** Of the answer before. */
      cursor?: string;
    };
    body: undefined;
    answer: Schemas['SandboxList'];
    event: never;
  };
  /** Makes a sandbox. The same Idempotency-Key gives the same one. */
  newSandbox: {
    path: Record<string, never>;
    query: Record<string, never>;
    body: {
      /** Its id; a new one when it is not there. */
      id?: string | null;
      /** true: answer when OpenCode is healthy; false: do not start it. */
      opencode?: boolean | null;
      /** The image that it is made of. */
      image?: string | null;
      /** The most memory that its programs have. */
      memory?: number | string | null;
      /** CPUs. */
      cpus?: number | null;
      /** Processes. */
      pids?: number | null;
      /** The most that its files take. */
      disk?: number | string | null;
      /** Files. */
      inodes?: number | null;
      /** Its share of a busy host; 100 is usual. */
      weight?: number | null;
      /** true, or seconds: wait for room when the host has none. */
      wait?: unknown;
      /** The environment of what runs in it. */
      env?: Record<string, string> | null;
      /** When it is saved by itself: onStop, onStart, interval, paths. */
      snapshots?: Record<string, unknown> | null;
      /** Seconds, or text as "10m", without use until it sleeps. */
      sleepAfter?: unknown;
      /** The same, asleep, until it is saved and stopped. */
      stopAfter?: unknown;
      /** It neither sleeps nor stops by itself. */
      keepAlive?: boolean | null;
    };
    answer: Schemas['CreatedSandbox'];
    event: never;
  };
  /** One sandbox. */
  getSandbox: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Sandbox'];
    event: never;
  };
  /** Changes what it does by itself. */
  updateSandbox: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Seconds, or text as "10m", without use until it sleeps. */
      sleepAfter?: unknown;
      /** The same, asleep, until it is saved and stopped. */
      stopAfter?: unknown;
      /** It neither sleeps nor stops by itself. */
      keepAlive?: boolean | null;
      /** When it is saved by itself: onStop, onStart, interval, paths. */
      snapshots?: Record<string, unknown> | null;
    };
    answer: Schemas['Sandbox'];
    event: never;
  };
  /** Ends it and removes its files; its snapshots stay. */
  deleteSandbox: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** A directory as a tar. */
  packFiles: {
    path: {
      id: string;
    };
    query: {
      /** A directory; /workspace when it is not there. */
      path?: string;
      /** Globs of names, or of paths when they have a slash, by comma. */
      exclude?: string;
      /** "tar" (usual) or "tar.zst". */
      format?: 'tar' | 'tar.zst';
      /** As whom; root when it is not there. */
      user?: string;
    };
    body: undefined;
    answer: never;
    event: never;
  };
  /** Unpacks a tar into a directory. */
  unpackFiles: {
    path: {
      id: string;
    };
    query: {
      /** A directory; /workspace when it is not there. */
      path?: string;
      /** "any": symlinks that lead out too, not only those that stay "inside". */
      links?: 'inside' | 'any';
      /** "none": everything becomes that of the user; "keep" is usual. */
      owners?: 'keep' | 'none';
      /** Of what is unpacked. */
      maxBytes?: number;
      /** At most 1,000,000. */
      maxEntries?: number;
      /** As whom; root when it is not there. */
      user?: string;
    };
    body: undefined;
    answer: Schemas['Unpacked'];
    event: never;
  };
  /** The buckets that it has as directories. */
  listBuckets: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['BucketList'];
    event: never;
  };
  /** Makes a bucket of an S3 store a directory, now and at each start. */
  mountBucket: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Its name. */
      bucket: string;
      /** An empty directory, or one that is made, where it appears. */
      path: string;
      /** https://host:port of the store; Amazon's without. */
      endpoint?: string | null;
      /** us-east-1 without. */
      region?: string | null;
      /** "r2" means the region "auto"; others mean nothing. */
      provider?: string | null;
      /** Only what is below it: "some/where". */
      prefix?: string | null;
      /** Nobody inside can change anything. */
      readOnly?: boolean | null;
      /** {"accessKeyId", "secretAccessKey"}: they never enter the sandbox. */
      credentials?: Record<string, unknown> | null;
      /** The name of [buckets.<name>] in the daemon's configuration. */
      secret?: string | null;
    };
    answer: Schemas['Bucket'];
    event: never;
  };
  /** Takes a bucket out again; what is in it stays in the store. */
  unmountBucket: {
    path: {
      id: string;
    };
    query: {
      /** Where it is mounted. */
      path: string;
    };
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** Whether anything in a directory has changed since the last time. */
  checkChanges: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Absolute, or relative to /workspace. */
      path: string;
      /** The version of the answer before. */
      since?: string | null;
      /** What is below, too; true. */
      recursive?: boolean | null;
      /** Globs of the files that alone count. */
      include?: string[] | null;
      /** Globs of what does not count. */
      exclude?: string[] | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['Changes'];
    event: never;
  };
  /** Runs code in the default context of its language. */
  runCode: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** At most 1 MiB. */
      code: string;
      /** "python" (usual), "javascript" or "typescript". */
      language?: string | null;
      /** The id of a context; the language's own when it is not there. */
      context?: string | null;
      /** For this run alone. */
      env?: Record<string, string> | null;
      /** Then it is interrupted, and 5 s later the kernel is restarted. 10 minutes. */
      timeoutMs?: number | null;
      /** Of all output; the rest is dropped. 16 MiB. */
      maxOutputBytes?: number | null;
    };
    answer: Schemas['CodeExecution'];
    event: Schemas['CodeEvent'];
  };
  /** The contexts that there are. */
  listContexts: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['CodeContextList'];
    event: never;
  };
  /** Starts an interpreter, in which what code defines lasts until it is deleted or the sandbox stops. */
  createContext: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** "python" (usual), "javascript" or "typescript". */
      language?: string | null;
      /** Where it begins; /workspace when it is not there. */
      cwd?: string | null;
      /** Added to the sandbox's. */
      env?: Record<string, string> | null;
    };
    answer: Schemas['CodeContext'];
    event: never;
  };
  /** One context. */
  getContext: {
    path: {
      id: string;
      context: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['CodeContext'];
    event: never;
  };
  /** Ends it with what its code has started, also in sessions of its own (setsid), unless that has no ATOLL_PROCESS in its environment or runs as another user. */
  deleteContext: {
    path: {
      id: string;
      context: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Done'];
    event: never;
  };
  /** Ends what runs in it as Ctrl-C does. */
  interruptContext: {
    path: {
      id: string;
      context: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Done'];
    event: never;
  };
  /** Begins anew: what code has defined is lost. */
  restartContext: {
    path: {
      id: string;
      context: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Done'];
    event: never;
  };
  /** Runs code, after what was asked for before. Its output and results as JSON, or as they come. */
  runInContext: {
    path: {
      id: string;
      context: string;
    };
    query: Record<string, never>;
    body: {
      /** At most 1 MiB. */
      code: string;
      /** For this run alone. */
      env?: Record<string, string> | null;
      /** Then it is interrupted, and 5 s later the kernel is restarted. 10 minutes. */
      timeoutMs?: number | null;
      /** Of all output; the rest is dropped. 16 MiB. */
      maxOutputBytes?: number | null;
    };
    answer: Schemas['CodeExecution'];
    event: Schemas['CodeEvent'];
  };
  /** Makes it if there is none of this id; starts it if it is stopped. */
  createSandbox: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** true: answer when OpenCode is healthy; false: do not start it. */
      opencode?: boolean | null;
      /** The image that it is made of. */
      image?: string | null;
      /** The most memory that its programs have. */
      memory?: number | string | null;
      /** CPUs. */
      cpus?: number | null;
      /** Processes. */
      pids?: number | null;
      /** The most that its files take. */
      disk?: number | string | null;
      /** Files. */
      inodes?: number | null;
      /** Its share of a busy host; 100 is usual. */
      weight?: number | null;
      /** true, or seconds: wait for room when the host has none. */
      wait?: unknown;
      /** The environment of what runs in it. */
      env?: Record<string, string> | null;
      /** When it is saved by itself: onStop, onStart, interval, paths. */
      snapshots?: Record<string, unknown> | null;
      /** Seconds, or text as "10m", without use until it sleeps. */
      sleepAfter?: unknown;
      /** The same, asleep, until it is saved and stopped. */
      stopAfter?: unknown;
      /** It neither sleeps nor stops by itself. */
      keepAlive?: boolean | null;
    };
    answer: Schemas['CreatedSandbox'];
    event: never;
  };
  /** What happened to it and why. */
  listEvents: {
    path: {
      id: string;
    };
    query: {
      /** What came later than that one. */
      after?: number;
      /** A stream that goes on. */
      follow?: boolean;
    };
    body: undefined;
    answer: Schemas['SandboxEventList'];
    event: Schemas['SandboxEvent'];
  };
  /** Runs a command. Accept: text/event-stream gives its output as it comes, application/octet-stream its standard output alone. */
  exec: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** A command line for bash. */
      command?: string | null;
      /** A program and its arguments, instead. */
      argv?: string[] | null;
      /** What it reads; nothing when it is not there. */
      stdin?: string | null;
      /** The same as bytes, in base64. */
      stdinBase64?: string | null;
      /** Added to the sandbox's; null is skipped. */
      env?: Record<string, string> | null;
      /** The id of a session: the command runs in its shell. */
      session?: string | null;
      /** /workspace when it is not there; in a session, where that is. */
      cwd?: string | null;
      /** name, uid, uid:gid or name:group; root when it is not there. */
      user?: string | null;
      /** Then SIGTERM to its group, 5 s later SIGKILL; exitCode is 124. */
      timeoutMs?: number | null;
      /** Of each stream; the rest is dropped. 10 MiB in JSON unless said, at most 64 MiB. */
      maxOutputBytes?: number | null;
      /** false: it goes on when the client leaves. */
      killOnDisconnect?: boolean | null;
      /** "utf-8": text, or base64 where it is none; "base64": always that. */
      encoding?: string | null;
    };
    answer: Schemas['ExecResult'];
    event: Schemas['ExecEvent'];
  };
  /** Runs a command: the first message is its request, binary ones are stdin, and back come binary ones with a first byte of 1 (stdout) or 2 (stderr). */
  execSocket: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** The content of a file, or a range of it; the path begins at the root. */
  readFile: {
    path: {
      id: string;
      path: string;
    };
    query: {
      /** The first byte. */
      offset?: number;
      /** How many. */
      length?: number;
      /** With a name to save under. */
      download?: boolean;
      /** As whom; root when it is not there. */
      user?: string;
    };
    body: undefined;
    answer: never;
    event: never;
  };
  /** Makes or replaces a file: 201 for a new one. */
  writeFile: {
    path: {
      id: string;
      path: string;
    };
    query: {
      /** Octal; that of the file as it was, or 0644. */
      mode?: string;
      /** Whom it belongs to, "user", "user:group" or ":group"; as whom it is written when it is new and this is not there. */
      owner?: string;
      /** Make the directories that are missing. */
      parents?: boolean;
      /** To the end of what is there. */
      append?: boolean;
      /** As whom; root when it is not there. */
      user?: string;
    };
    body: undefined;
    answer: Schemas['File'];
    event: never;
  };
  /** Removes a file, or with `recursive` a directory. */
  deleteFile: {
    path: {
      id: string;
      path: string;
    };
    query: {
      /** A directory with all that is in it. */
      recursive?: boolean;
      /** As whom; root when it is not there. */
      user?: string;
    };
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** New sandboxes with its files and conversations. */
  forkSandbox: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** The id of the copy; a new one when it is not there. */
      id?: string | null;
      /** How many. */
      count?: number | null;
      /** What runs goes on in the copies, too. It needs CRIU on the host. */
      memory?: boolean | null;
      /** true: answer when OpenCode is healthy; false: do not start it. */
      opencode?: boolean | null;
    };
    answer: Schemas['Forked'];
    event: never;
  };
  /** Changes mode, owner or both. */
  setFileAttributes: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Absolute, or relative to /workspace. */
      path: string;
      /** Octal: "0644". */
      mode?: string | null;
      /** "user", "user:group" or ":group". */
      owner?: string | null;
      /** Symlinks; true. */
      follow?: boolean | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: Schemas['File'];
    event: never;
  };
  /** Copies a file, or with `recursive` a directory. */
  copyFile: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** What there is. */
      from: string;
      /** Its new path itself. */
      to: string;
      recursive?: boolean | null;
      /** Replace what is there; true. */
      overwrite?: boolean | null;
      /** Make the directories that are missing. */
      parents?: boolean | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: Schemas['File'];
    event: never;
  };
  /** Whether there is something at a path. */
  fileExists: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Absolute, or relative to /workspace. */
      path: string;
      /** Symlinks; true. */
      follow?: boolean | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: Schemas['FileExists'];
    event: never;
  };
  /** The same of everything below it. */
  findFiles: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Absolute, or relative to /workspace. */
      path: string;
      recursive?: boolean | null;
      depth?: number | null;
      /** Names that begin with a dot; true. */
      includeHidden?: boolean | null;
      /** Globs of names, or of paths when they have a slash; * matches slashes too. */
      exclude?: string[] | null;
      /** A glob that the name matches. */
      name?: string | null;
      /** file, directory, symlink or other. */
      type?: string | null;
      /** Bytes; of files. */
      minSize?: number | null;
      /** Bytes; of files. */
      maxSize?: number | null;
      /** Changed since, in seconds since 1970. */
      newerThan?: number | null;
      /** Not changed since. */
      olderThan?: number | null;
      /** At most so many; 10,000. */
      limit?: number | null;
      /** Of the answer before. */
      cursor?: string | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: Schemas['FileList'];
    event: never;
  };
  /** Lines of files that a pattern matches. */
  grepFiles: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** An expression, or text with `fixed`. */
      pattern: string;
      /** A directory or a file; /workspace when it is not there. */
      path?: string | null;
      /** The pattern is text. */
      fixed?: boolean | null;
      ignoreCase?: boolean | null;
      /** Whole words. */
      words?: boolean | null;
      /** Names that begin with a dot; true. */
      includeHidden?: boolean | null;
      /** What .gitignore names; true. */
      includeIgnored?: boolean | null;
      /** Globs of files. */
      include?: string[] | null;
      /** Globs of files and directories. */
      exclude?: string[] | null;
      /** At most so many; 1000. */
      limit?: number | null;
      /** Milliseconds; then what was found so far, with `timedOut`. */
      timeout?: number | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: Schemas['GrepResult'];
    event: never;
  };
  /** What is in a directory, by name. */
  listFiles: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Absolute, or relative to /workspace. */
      path: string;
      recursive?: boolean | null;
      depth?: number | null;
      /** Names that begin with a dot; true. */
      includeHidden?: boolean | null;
      /** Globs of names, or of paths when they have a slash; * matches slashes too. */
      exclude?: string[] | null;
      /** A glob that the name matches. */
      name?: string | null;
      /** file, directory, symlink or other. */
      type?: string | null;
      /** Bytes; of files. */
      minSize?: number | null;
      /** Bytes; of files. */
      maxSize?: number | null;
      /** Changed since, in seconds since 1970. */
      newerThan?: number | null;
      /** Not changed since. */
      olderThan?: number | null;
      /** At most so many; 10,000. */
      limit?: number | null;
      /** Of the answer before. */
      cursor?: string | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: Schemas['FileList'];
    event: never;
  };
  /** Makes a directory. */
  makeDirectory: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Absolute, or relative to /workspace. */
      path: string;
      /** Make the directories that are missing. */
      parents?: boolean | null;
      /** Octal: "0644". */
      mode?: string | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: Schemas['File'];
    event: never;
  };
  /** Gives a file or directory another path. */
  moveFile: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** What there is. */
      from: string;
      /** Its new path itself. */
      to: string;
      /** Replace what is there; true. */
      overwrite?: boolean | null;
      /** Make the directories that are missing. */
      parents?: boolean | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: Schemas['File'];
    event: never;
  };
  /** Removes a file, or with `recursive` a directory. */
  removeFile: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Absolute, or relative to /workspace. */
      path: string;
      recursive?: boolean | null;
      /** Nothing there is fine. */
      missingOk?: boolean | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: undefined;
    event: never;
  };
  /** What there is at a path. */
  statFile: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Absolute, or relative to /workspace. */
      path: string;
      /** Symlinks; true. */
      follow?: boolean | null;
      /** As whom: "name", "uid", either with ":group". */
      user?: string | null;
    };
    answer: Schemas['File'];
    event: never;
  };
  /** Branches, by name. */
  listGitBranches: {
    path: {
      id: string;
    };
    query: {
      /** In the repository; /workspace when it is not there. */
      dir?: string;
      /** Those of remotes too. */
      remote?: boolean;
      /** As whom; root when it is not there. */
      user?: string;
    };
    body: undefined;
    answer: Schemas['GitBranchList'];
    event: never;
  };
  /** Makes a branch, without checking it out. */
  createGitBranch: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** In the repository; /workspace when it is not there. */
      dir?: string | null;
      name: string;
      /** A commit; HEAD when it is not there. */
      from?: string | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: undefined;
    event: never;
  };
  /** Removes a branch. */
  deleteGitBranch: {
    path: {
      id: string;
      name: string;
    };
    query: {
      /** In the repository; /workspace when it is not there. */
      dir?: string;
      /** Though it is not merged. */
      force?: boolean;
      /** As whom; root when it is not there. */
      user?: string;
    };
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** Checks out a branch or a commit. */
  gitCheckout: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** In the repository; /workspace when it is not there. */
      dir?: string | null;
      /** A branch, also of a remote, or a commit. */
      ref: string;
      /** It is a new branch. */
      create?: boolean | null;
      /** Where that begins. */
      from?: string | null;
      /** The commit, not the branch. */
      detach?: boolean | null;
      /** What was changed is lost. */
      force?: boolean | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['GitHead'];
    event: never;
  };
  /** Clones a repository. Accept: text/event-stream gives its progress. */
  gitClone: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** An URL: https, http or ssh, or user@host:path. */
      repo: string;
      branch?: string | null;
      /** The repository's name below /workspace when it is not there. */
      dir?: string | null;
      /** Commits. */
      depth?: number | null;
      /** blob:none, tree:0 or blob:limit=1m: the rest when it is needed. */
      filter?: string | null;
      /** Only these directories, and the files beside them. */
      sparse?: string[] | null;
      /** Of the server; any with a token. */
      username?: string | null;
      /** Or a token. For this call alone: it is kept nowhere. */
      password?: string | null;
      /** A private key without passphrase, the same. */
      sshKey?: string | null;
      /** Then it is given up; 10 minutes. */
      timeoutMs?: number | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['ClonedRepository'];
    event: Schemas['CloneEvent'];
  };
  /** Commits what is staged. */
  gitCommit: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** In the repository; /workspace when it is not there. */
      dir?: string | null;
      message: string;
      /** Everything that has changed, new files too. */
      all?: boolean | null;
      /** What is staged first. */
      paths?: string[] | null;
      amend?: boolean | null;
      allowEmpty?: boolean | null;
      /** {"name","email"}; what is configured when it is not there. */
      author?: Record<string, unknown> | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['GitCommitted'];
    event: never;
  };
  /** What has changed, by file and as a patch. */
  gitDiff: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** In the repository; /workspace when it is not there. */
      dir?: string | null;
      /** What a commit would change. */
      staged?: boolean | null;
      /** A commit to compare with. */
      from?: string | null;
      /** Another, instead of the files that are there. */
      to?: string | null;
      /** Files and directories, no patterns. */
      paths?: string[] | null;
      /** Lines; 3. */
      context?: number | null;
      /** The changes themselves; true. */
      patch?: boolean | null;
      /** 1 MiB. */
      maxPatchBytes?: number | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['GitDiff'];
    event: never;
  };
  /** Gets what a remote has, and merges nothing. */
  gitFetch: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** In the repository; /workspace when it is not there. */
      dir?: string | null;
      /** Its name, or an URL; origin as a rule. */
      remote?: string | null;
      /** All when it is not there. */
      branch?: string | null;
      /** Forget what the remote has no longer. */
      prune?: boolean | null;
      tags?: boolean | null;
      /** Commits. */
      depth?: number | null;
      /** Of the server; any with a token. */
      username?: string | null;
      /** Or a token. For this call alone: it is kept nowhere. */
      password?: string | null;
      /** A private key without passphrase, the same. */
      sshKey?: string | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: undefined;
    event: never;
  };
  /** Commits, newest first. */
  gitLog: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** In the repository; /workspace when it is not there. */
      dir?: string | null;
      /** A commit or a range; HEAD when it is not there. */
      ref?: string | null;
      /** Files and directories, no patterns. */
      paths?: string[] | null;
      /** 50. */
      limit?: number | null;
      skip?: number | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['GitLog'];
    event: never;
  };
  /** Gets what a remote has and merges it into the current branch. */
  gitPull: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** In the repository; /workspace when it is not there. */
      dir?: string | null;
      /** Its name, or an URL; origin as a rule. */
      remote?: string | null;
      /** The one that the current branch follows when it is not there. */
      branch?: string | null;
      /** Instead of a merge. */
      rebase?: boolean | null;
      /** No merge. */
      ffOnly?: boolean | null;
      /** Everything is then as it was; else the files have the conflicts in them. */
      abortOnConflict?: boolean | null;
      /** {"name","email"}; what is configured when it is not there. */
      author?: Record<string, unknown> | null;
      /** Of the server; any with a token. */
      username?: string | null;
      /** Or a token. For this call alone: it is kept nowhere. */
      password?: string | null;
      /** A private key without passphrase, the same. */
      sshKey?: string | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['GitPulled'];
    event: never;
  };
  /** Sends a branch to a remote. */
  gitPush: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** In the repository; /workspace when it is not there. */
      dir?: string | null;
      /** Its name, or an URL; origin as a rule. */
      remote?: string | null;
      /** The current one when it is not there. */
      branch?: string | null;
      setUpstream?: boolean | null;
      /** Unless it has moved since the last fetch. */
      force?: boolean | null;
      /** The branch goes from the remote. */
      delete?: boolean | null;
      /** All tags too. */
      tags?: boolean | null;
      /** Of the server; any with a token. */
      username?: string | null;
      /** Or a token. For this call alone: it is kept nowhere. */
      password?: string | null;
      /** A private key without passphrase, the same. */
      sshKey?: string | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['GitPushed'];
    event: never;
  };
  /** What is checked out and what differs from it. */
  gitStatus: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** In the repository; /workspace when it is not there. */
      dir?: string | null;
      /** Those too; true. */
      untracked?: boolean | null;
      ignored?: boolean | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['GitStatus'];
    event: never;
  };
  /** The same as git/clone. */
  cloneRepository: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** An URL: https, http or ssh, or user@host:path. */
      repo: string;
      branch?: string | null;
      /** The repository's name below /workspace when it is not there. */
      dir?: string | null;
      /** Commits. */
      depth?: number | null;
      /** blob:none, tree:0 or blob:limit=1m: the rest when it is needed. */
      filter?: string | null;
      /** Only these directories, and the files beside them. */
      sparse?: string[] | null;
      /** Of the server; any with a token. */
      username?: string | null;
      /** Or a token. For this call alone: it is kept nowhere. */
      password?: string | null;
      /** A private key without passphrase, the same. */
      sshKey?: string | null;
      /** Then it is given up; 10 minutes. */
      timeoutMs?: number | null;
      /** As whom; root when it is not there. */
      user?: string | null;
    };
    answer: Schemas['ClonedRepository'];
    event: Schemas['CloneEvent'];
  };
  /** The TCP ports on which its programs listen. */
  listPorts: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['ListeningPortList'];
    event: never;
  };
  /** Its ports that have a preview URL. */
  listExposedPorts: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['ExposedPortList'];
    event: never;
  };
  /** Gives a port a preview URL. */
  exposePort: {
    path: {
      id: string;
      port: string;
    };
    query: Record<string, never>;
    body: {
      /** For people. */
      name?: string | null;
      /** 1 to 16 characters of a-z, 0-9 and _: what makes the URL hard to guess. A random one when it is not there. */
      token?: string | null;
      /** Seconds, "3d" or "never". */
      ttl?: unknown;
      /** The URL carries a signature, without which its host answers nobody. For a day unless ttl says otherwise. */
      signed?: boolean | null;
    };
    answer: Schemas['ExposedPort'];
    event: never;
  };
  /** Takes the preview URL of a port back. */
  unexposePort: {
    path: {
      id: string;
      port: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** The processes that run, and the last thousand that have ended. */
  listProcesses: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['ProcessList'];
    event: never;
  };
  /** Starts a program in the background. It outlives the request and the daemon. */
  startProcess: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** A command line for bash. */
      command?: string | null;
      /** A program and its arguments, instead. */
      argv?: string[] | null;
      /** 1 to 64 letters, digits, '.', '_' and '-'; a new one when it is not there. */
      id?: string | null;
      /** Added to the sandbox's; null is skipped. */
      env?: Record<string, string> | null;
      /** /workspace when it is not there. */
      cwd?: string | null;
      /** name, uid, uid:gid or name:group; root when it is not there. */
      user?: string | null;
      /** When it ends by itself: "never" (usual), "on-failure", "always" (a service). */
      restart?: string | null;
      /** It is started again whenever the sandbox is, until it is stopped by DELETE. */
      service?: boolean | null;
      /** Of a service: while it runs the sandbox neither sleeps nor stops by itself. */
      keepAwake?: boolean | null;
    };
    answer: Schemas['Process'];
    event: never;
  };
  /** Ends all of them. */
  stopProcesses: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Done'];
    event: never;
  };
  /** One process. */
  getProcess: {
    path: {
      id: string;
      process: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Process'];
    event: never;
  };
  /** Ends it with what it has started, also in sessions of its own (setsid), unless that has no ATOLL_PROCESS in its environment or runs as another user: SIGTERM, 5 s, SIGKILL. A service is none any more. */
  stopProcess: {
    path: {
      id: string;
      process: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Process'];
    event: never;
  };
  /** What it has written, from an offset on. */
  getProcessLogs: {
    path: {
      id: string;
      process: string;
    };
    query: {
      /** Bytes of output, both streams counted; the nextOffset of the answer before. */
      offset?: number;
      /** At most so many bytes; 1 MiB unless said. */
      limit?: number;
      /** Server-sent events, until the process has ended. */
      follow?: boolean;
    };
    body: undefined;
    answer: Schemas['ProcessLogs'];
    event: Schemas['LogEvent'];
  };
  /** Sends a signal to its process group. */
  signalProcess: {
    path: {
      id: string;
      process: string;
    };
    query: Record<string, never>;
    body: {
      /** "SIGTERM" (usual), "HUP", 15, ... */
      signal?: unknown;
    };
    answer: Schemas['Done'];
    event: never;
  };
  /** Answers when it has ended, has written something or listens. */
  waitForProcess: {
    path: {
      id: string;
      process: string;
    };
    query: {
      /** "exit" (usual), "log" or "port". */
      for?: 'exit' | 'log' | 'port';
      /** 30000 unless said; then 408 PROCESS_READY_TIMEOUT. */
      timeoutMs?: number;
      /** log: what a line has in it. */
      pattern?: string;
      /** log: a regular expression (RE2) instead. */
      regex?: string;
      /** port: which one. */
      port?: number;
      /** port: answers GET of this path, not only connections. */
      path?: string;
      /** port: with this status, "200" or "200-399" (usual). */
      status?: string;
    };
    body: undefined;
    answer: Schemas['Waited'];
    event: never;
  };
  /** A terminal: binary messages are keys and output, text messages are JSON. */
  openTerminal: {
    path: {
      id: string;
    };
    query: {
      /** 80 */
      cols?: number;
      /** 24 */
      rows?: number;
      /** The name of the terminal, which is joined or made: default */
      session?: string;
      /** The program of a new one: bash */
      shell?: string;
      /** A command line for the shell of a new one */
      command?: string;
      /** Where a new one begins: /workspace */
      cwd?: string;
      /** 0: only one that is there */
      create?: number;
      /** Output before this offset is not repeated */
      since?: number;
      /** Seconds after its last viewer in which a new one is closed; 0: never */
      linger?: number;
      /** Added to the sandbox's for a new one */
      env?: Record<string, string>;
      /** Of a new one: name, uid, uid:gid or name:group; root */
      user?: string;
      /** After which a new one is hung up: SIGHUP, then SIGKILL */
      timeoutMs?: number;
    };
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** Puts the files of a snapshot into it, any sandbox's. */
  restoreSnapshot: {
    path: {
      id: string;
      snapshotId: string;
    };
    query: Record<string, never>;
    body: {
      /** Where to; where it was saved when it is not there. */
      dir?: string | null;
      /** A directory of the snapshot. */
      from?: string | null;
      /** "replace", or "merge": keep what the snapshot does not have. */
      mode?: string | null;
    };
    answer: Schemas['RestoredSnapshot'];
    event: Schemas['RestoreEvent'];
  };
  /** Runs a command; its output comes as events. */
  runCommand: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** For bash. */
      command: string;
      /** /workspace when it is not there. */
      cwd?: string | null;
      /** Added to the sandbox's. */
      env?: Record<string, string> | null;
      /** Milliseconds. */
      timeout?: number | null;
    };
    answer: never;
    event: Schemas['RunEvent'];
  };
  /** The sessions that are open. */
  listSessions: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['SessionList'];
    event: never;
  };
  /** Opens a shell whose directory, variables and functions last between commands: "session" in exec. */
  openSession: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** 1 to 128 letters, digits, '.', '_' and '-'; a new one when it is not there. */
      id?: string | null;
      /** Where it begins; /workspace when it is not there. */
      cwd?: string | null;
      /** Added to the sandbox's. */
      env?: Record<string, string> | null;
      /** name, uid, uid:gid or name:group; root when it is not there. */
      user?: string | null;
      /** Of commands that have none of their own. */
      timeoutMs?: number | null;
    };
    answer: Schemas['Session'];
    event: never;
  };
  /** Ends it and everything that runs in it. */
  closeSession: {
    path: {
      id: string;
      session: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Done'];
    event: never;
  };
  /** Its programs stand still until it is used. */
  sleepSandbox: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** Even when it is in use. */
      force?: boolean | null;
    };
    answer: Schemas['SandboxState'];
    event: never;
  };
  /** Saves a directory; answers when it is durable. */
  createSnapshot: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** What is saved. */
      dir: string;
      name?: string | null;
      /** Its programs stand still meanwhile. */
      freeze?: boolean | null;
      /** Seconds, "3d" or "never". */
      ttl?: unknown;
      tags?: string[] | null;
      /** Absolute paths of what is left out, with what is in it. */
      exclude?: string[] | null;
    };
    answer: Schemas['TakenSnapshot'];
    event: Schemas['SnapshotEvent'];
  };
  /** Its snapshots, newest first. */
  listSandboxSnapshots: {
    path: {
      id: string;
    };
    query: {
      /** Of this directory. */
      dir?: string;
      name?: string;
      /** manual, stop, interval, … */
      trigger?: string;
      tag?: string;
      /** At most so many. */
      limit?: number;
      /** Of the answer before. */
      cursor?: string;
    };
    body: undefined;
    answer: Schemas['SnapshotList'];
    event: never;
  };
  /** Saves it and ends its programs; its files stay. */
  stopSandbox: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: {
      /** What runs goes on at the next start, where it was. It needs CRIU on the host. */
      keepMemory?: boolean | null;
    };
    answer: Schemas['StoppedSandbox'];
    event: never;
  };
  /** The terminals of a sandbox, also those that have ended a while ago. */
  listTerminals: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['TerminalList'];
    event: never;
  };
  /** Ends a terminal and what runs in it. */
  closeTerminal: {
    path: {
      id: string;
      name: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** What it uses now, has used in ten minutes, and may use. */
  getUsage: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['UsageReport'];
    event: never;
  };
  /** Its programs go on. */
  wakeSandbox: {
    path: {
      id: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['SandboxState'];
    event: never;
  };
  /** What changes in a directory, as it happens; with Last-Event-ID, from there on. */
  watchFiles: {
    path: {
      id: string;
    };
    query: {
      /** A directory or a file; /workspace when it is not there. */
      path?: string;
      /** What is below, too; true. */
      recursive?: boolean;
      /** Globs of files, by comma; all when it is not there. */
      include?: string;
      /** Globs of what is neither told nor entered, by comma. */
      exclude?: string;
      /** As whom; root when it is not there. */
      user?: string;
    };
    body: undefined;
    answer: never;
    event: Schemas['WatchEvent'];
  };
  /** Every snapshot of the repository, newest first. */
  listSnapshots: {
    path: Record<string, never>;
    query: {
      /** Of this sandbox. */
      sandbox?: string;
      /** Of this directory. */
      dir?: string;
      name?: string;
      /** manual, stop, interval, … */
      trigger?: string;
      tag?: string;
      /** At most so many. */
      limit?: number;
      /** Of the answer before. */
      cursor?: string;
    };
    body: undefined;
    answer: Schemas['SnapshotList'];
    event: never;
  };
  /** One snapshot. */
  getSnapshot: {
    path: {
      snapshotId: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: Schemas['Snapshot'];
    event: never;
  };
  /** Changes what it is called and how long it is kept. */
  updateSnapshot: {
    path: {
      snapshotId: string;
    };
    query: Record<string, never>;
    body: {
      name?: string | null;
      tags?: string[] | null;
      /** Kept whatever the rules say. */
      pinned?: boolean | null;
      /** "3d" or "never". */
      ttl?: string | null;
    };
    answer: Schemas['Snapshot'];
    event: never;
  };
  /** Removes it. */
  deleteSnapshot: {
    path: {
      snapshotId: string;
    };
    query: Record<string, never>;
    body: undefined;
    answer: undefined;
    event: never;
  };
  /** All of it as .tar.zst. */
  downloadSnapshot: {
    path: {
      snapshotId: string;
    };
    query: {
      /** Answer an expiring URL. */
      presign?: boolean;
      /** Seconds that the URL works. */
      valid?: number;
    };
    body: undefined;
    answer: Schemas['PresignedArchive'];
    event: never;
  };
  /** What another snapshot has that this one has not. */
  diffSnapshots: {
    path: {
      snapshotId: string;
    };
    query: {
      /** The other snapshot. */
      to: string;
      limit?: number;
    };
    body: undefined;
    answer: Schemas['SnapshotDiff'];
    event: never;
  };
  /** The bytes of one of its files; Range is honoured. */
  readSnapshotFile: {
    path: {
      snapshotId: string;
    };
    query: {
      /** A file of the snapshot. */
      path: string;
    };
    body: undefined;
    answer: never;
    event: never;
  };
  /** The entries of one of its directories. */
  listSnapshotFiles: {
    path: {
      snapshotId: string;
    };
    query: {
      /** A directory of the snapshot. */
      path?: string;
      limit?: number;
      /** Of the answer before. */
      cursor?: string;
    };
    body: undefined;
    answer: Schemas['SnapshotTree'];
    event: never;
  };
}

export const operations = {
  callMcp: {method: 'POST', path: '/v1/mcp'},
  endMcpSession: {method: 'DELETE', path: '/v1/mcp'},
  bridgeGetOpenApi: {method: 'GET', path: '/v1/openapi'},
  getOpenApi: {method: 'GET', path: '/v1/openapi.json'},
  primePool: {method: 'POST', path: '/v1/pool/prime'},
  shutdownPrewarmed: {method: 'POST', path: '/v1/pool/shutdown-prewarmed'},
  getPoolStats: {method: 'GET', path: '/v1/pool/stats'},
  bridgeCreateSandbox: {method: 'POST', path: '/v1/sandbox'},
  bridgeDeleteSandbox: {method: 'DELETE', path: '/v1/sandbox/{sandbox}'},
  bridgeExecCommand: {method: 'POST', path: '/v1/sandbox/{sandbox}/exec'},
  bridgeReadFile: {method: 'GET', path: '/v1/sandbox/{sandbox}/file/{path}'},
  bridgeWriteFile: {method: 'PUT', path: '/v1/sandbox/{sandbox}/file/{path}'},
  bridgeHydrateWorkspace: {method: 'POST', path: '/v1/sandbox/{sandbox}/hydrate'},
  bridgeMountBucket: {method: 'POST', path: '/v1/sandbox/{sandbox}/mount'},
  bridgePersistWorkspace: {method: 'POST', path: '/v1/sandbox/{sandbox}/persist'},
  bridgePtyTerminal: {method: 'GET', path: '/v1/sandbox/{sandbox}/pty'},
  bridgeIsSandboxRunning: {method: 'GET', path: '/v1/sandbox/{sandbox}/running'},
  bridgeCreateSession: {method: 'POST', path: '/v1/sandbox/{sandbox}/session'},
  bridgeDeleteSession: {method: 'DELETE', path: '/v1/sandbox/{sandbox}/session/{session}'},
  bridgeCreateTunnel: {method: 'POST', path: '/v1/sandbox/{sandbox}/tunnel/{port}'},
  bridgeDeleteTunnel: {method: 'DELETE', path: '/v1/sandbox/{sandbox}/tunnel/{port}'},
  bridgeUnmountBucket: {method: 'POST', path: '/v1/sandbox/{sandbox}/unmount'},
  listSandboxes: {method: 'GET', path: '/v1/sandboxes'},
  newSandbox: {method: 'POST', path: '/v1/sandboxes'},
  getSandbox: {method: 'GET', path: '/v1/sandboxes/{id}'},
  updateSandbox: {method: 'PATCH', path: '/v1/sandboxes/{id}'},
  deleteSandbox: {method: 'DELETE', path: '/v1/sandboxes/{id}'},
  packFiles: {method: 'GET', path: '/v1/sandboxes/{id}/archive'},
  unpackFiles: {method: 'PUT', path: '/v1/sandboxes/{id}/archive'},
  listBuckets: {method: 'GET', path: '/v1/sandboxes/{id}/buckets'},
  mountBucket: {method: 'POST', path: '/v1/sandboxes/{id}/buckets'},
  unmountBucket: {method: 'DELETE', path: '/v1/sandboxes/{id}/buckets'},
  checkChanges: {method: 'POST', path: '/v1/sandboxes/{id}/changes'},
  runCode: {method: 'POST', path: '/v1/sandboxes/{id}/code'},
  listContexts: {method: 'GET', path: '/v1/sandboxes/{id}/contexts'},
  createContext: {method: 'POST', path: '/v1/sandboxes/{id}/contexts'},
  getContext: {method: 'GET', path: '/v1/sandboxes/{id}/contexts/{context}'},
  deleteContext: {method: 'DELETE', path: '/v1/sandboxes/{id}/contexts/{context}'},
  interruptContext: {method: 'POST', path: '/v1/sandboxes/{id}/contexts/{context}/interrupt'},
  restartContext: {method: 'POST', path: '/v1/sandboxes/{id}/contexts/{context}/restart'},
  runInContext: {method: 'POST', path: '/v1/sandboxes/{id}/contexts/{context}/run'},
  createSandbox: {method: 'POST', path: '/v1/sandboxes/{id}/create'},
  listEvents: {method: 'GET', path: '/v1/sandboxes/{id}/events'},
  exec: {method: 'POST', path: '/v1/sandboxes/{id}/exec'},
  execSocket: {method: 'GET', path: '/v1/sandboxes/{id}/exec/ws'},
  readFile: {method: 'GET', path: '/v1/sandboxes/{id}/files/{path}'},
  writeFile: {method: 'PUT', path: '/v1/sandboxes/{id}/files/{path}'},
  deleteFile: {method: 'DELETE', path: '/v1/sandboxes/{id}/files/{path}'},
  forkSandbox: {method: 'POST', path: '/v1/sandboxes/{id}/fork'},
  setFileAttributes: {method: 'POST', path: '/v1/sandboxes/{id}/fs/chmod'},
  copyFile: {method: 'POST', path: '/v1/sandboxes/{id}/fs/copy'},
  fileExists: {method: 'POST', path: '/v1/sandboxes/{id}/fs/exists'},
  findFiles: {method: 'POST', path: '/v1/sandboxes/{id}/fs/find'},
  grepFiles: {method: 'POST', path: '/v1/sandboxes/{id}/fs/grep'},
  listFiles: {method: 'POST', path: '/v1/sandboxes/{id}/fs/list'},
  makeDirectory: {method: 'POST', path: '/v1/sandboxes/{id}/fs/mkdir'},
  moveFile: {method: 'POST', path: '/v1/sandboxes/{id}/fs/move'},
  removeFile: {method: 'POST', path: '/v1/sandboxes/{id}/fs/remove'},
  statFile: {method: 'POST', path: '/v1/sandboxes/{id}/fs/stat'},
  listGitBranches: {method: 'GET', path: '/v1/sandboxes/{id}/git/branches'},
  createGitBranch: {method: 'POST', path: '/v1/sandboxes/{id}/git/branches'},
  deleteGitBranch: {method: 'DELETE', path: '/v1/sandboxes/{id}/git/branches/{name}'},
  gitCheckout: {method: 'POST', path: '/v1/sandboxes/{id}/git/checkout'},
  gitClone: {method: 'POST', path: '/v1/sandboxes/{id}/git/clone'},
  gitCommit: {method: 'POST', path: '/v1/sandboxes/{id}/git/commit'},
  gitDiff: {method: 'POST', path: '/v1/sandboxes/{id}/git/diff'},
  gitFetch: {method: 'POST', path: '/v1/sandboxes/{id}/git/fetch'},
  gitLog: {method: 'POST', path: '/v1/sandboxes/{id}/git/log'},
  gitPull: {method: 'POST', path: '/v1/sandboxes/{id}/git/pull'},
  gitPush: {method: 'POST', path: '/v1/sandboxes/{id}/git/push'},
  gitStatus: {method: 'POST', path: '/v1/sandboxes/{id}/git/status'},
  cloneRepository: {method: 'POST', path: '/v1/sandboxes/{id}/gitClone'},
  listPorts: {method: 'GET', path: '/v1/sandboxes/{id}/ports'},
  listExposedPorts: {method: 'GET', path: '/v1/sandboxes/{id}/ports/exposed'},
  exposePort: {method: 'POST', path: '/v1/sandboxes/{id}/ports/{port}/expose'},
  unexposePort: {method: 'DELETE', path: '/v1/sandboxes/{id}/ports/{port}/expose'},
  listProcesses: {method: 'GET', path: '/v1/sandboxes/{id}/processes'},
  startProcess: {method: 'POST', path: '/v1/sandboxes/{id}/processes'},
  stopProcesses: {method: 'DELETE', path: '/v1/sandboxes/{id}/processes'},
  getProcess: {method: 'GET', path: '/v1/sandboxes/{id}/processes/{process}'},
  stopProcess: {method: 'DELETE', path: '/v1/sandboxes/{id}/processes/{process}'},
  getProcessLogs: {method: 'GET', path: '/v1/sandboxes/{id}/processes/{process}/logs'},
  signalProcess: {method: 'POST', path: '/v1/sandboxes/{id}/processes/{process}/signal'},
  waitForProcess: {method: 'GET', path: '/v1/sandboxes/{id}/processes/{process}/wait'},
  openTerminal: {method: 'GET', path: '/v1/sandboxes/{id}/pty'},
  restoreSnapshot: {method: 'POST', path: '/v1/sandboxes/{id}/restore/{snapshotId}'},
  runCommand: {method: 'POST', path: '/v1/sandboxes/{id}/run'},
  listSessions: {method: 'GET', path: '/v1/sandboxes/{id}/sessions'},
  openSession: {method: 'POST', path: '/v1/sandboxes/{id}/sessions'},
  closeSession: {method: 'DELETE', path: '/v1/sandboxes/{id}/sessions/{session}'},
  sleepSandbox: {method: 'POST', path: '/v1/sandboxes/{id}/sleep'},
  createSnapshot: {method: 'POST', path: '/v1/sandboxes/{id}/snapshot'},
  listSandboxSnapshots: {method: 'GET', path: '/v1/sandboxes/{id}/snapshots'},
  stopSandbox: {method: 'POST', path: '/v1/sandboxes/{id}/stop'},
  listTerminals: {method: 'GET', path: '/v1/sandboxes/{id}/terminals'},
  closeTerminal: {method: 'DELETE', path: '/v1/sandboxes/{id}/terminals/{name}'},
  getUsage: {method: 'GET', path: '/v1/sandboxes/{id}/usage'},
  wakeSandbox: {method: 'POST', path: '/v1/sandboxes/{id}/wake'},
  watchFiles: {method: 'GET', path: '/v1/sandboxes/{id}/watch'},
  listSnapshots: {method: 'GET', path: '/v1/snapshots'},
  getSnapshot: {method: 'GET', path: '/v1/snapshots/{snapshotId}'},
  updateSnapshot: {method: 'PATCH', path: '/v1/snapshots/{snapshotId}'},
  deleteSnapshot: {method: 'DELETE', path: '/v1/snapshots/{snapshotId}'},
  downloadSnapshot: {method: 'GET', path: '/v1/snapshots/{snapshotId}/archive'},
  diffSnapshots: {method: 'GET', path: '/v1/snapshots/{snapshotId}/diff'},
  readSnapshotFile: {method: 'GET', path: '/v1/snapshots/{snapshotId}/file'},
  listSnapshotFiles: {method: 'GET', path: '/v1/snapshots/{snapshotId}/tree'},
} as const;
