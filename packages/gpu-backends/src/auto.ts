/**
 * Which backend runs here: native C++, WebAssembly, WebGPU or plain TypeScript, and why.
 *
 * Backends are imported when they are tried, so that a page that asks for one does not load the others, and
 * nothing of Node is imported at the top. Every choice carries its reason in `backend.info.reason`.
 */
import { type Backend, check, MinkeError } from '@minke/core';

/** What the caller may ask of a backend; each takes what concerns it. */
export interface CreateOptions {
  /** Threads of the native and of the WebAssembly backend; by default the cores there are, at most 8. */
  readonly threads?: number;
  /**
   * Instruction set of the native backend (`avx512`, `avx2`, `neondotprod`, ...) or of WebAssembly (`relaxed-simd`,
   * `simd128`); by default the best here.
   */
  readonly device?: string;
}

interface Candidate {
  /** Why it cannot run here; undefined when it can. */
  readonly missing: () => Promise<string | undefined>;
  readonly create: (options: CreateOptions) => Promise<Backend>;
}

const candidates = {
  native: {
    async missing() {
      const { nativeAvailable } = await import('./cpu/index.ts');
      const { available, reason } = nativeAvailable();
      return available ? undefined : reason;
    },
    async create({ threads, device }) {
      const { createNative } = await import('./cpu/index.ts');
      return createNative({
        ...(threads === undefined ? {} : { threads }),
        ...(device === undefined ? {} : { instructionSet: device }),
      });
    },
  },
  wasm: {
    async missing() {
      const { createWasm } = await import('./cpu/index.ts');
      try {
        (await createWasm({ threads: 1 })).dispose();
        return undefined;
      } catch (error) {
        if (MinkeError.isInstance(error)) return error.message;
        throw error;
      }
    },
    async create({ threads, device }) {
      const { createWasm } = await import('./cpu/index.ts');
      return createWasm({
        ...(threads === undefined ? {} : { threads }),
        ...(device === 'relaxed-simd' || device === 'simd128' ? { instructionSet: device } : {}),
      });
    },
  },
  webgpu: {
    async missing() {
      const { createWebgpu } = await import('./webgpu/index.ts');
      try {
        (await createWebgpu()).dispose();
        return undefined;
      } catch (error) {
        if (MinkeError.isInstance(error)) return error.message;
        throw error;
      }
    },
    async create() {
      const { createWebgpu } = await import('./webgpu/index.ts');
      return createWebgpu();
    },
  },
  reference: {
    missing: async () => undefined,
    async create() {
      const { createReference } = await import('./reference/index.ts');
      return createReference({ reason: 'plain TypeScript' });
    },
  },
} satisfies Record<string, Candidate>;

/** A backend of this package. */
export type BackendName = keyof typeof candidates;

const backendNames = Object.keys(candidates) as BackendName[];

/** Names as `auto` tries them, fastest first: WebGPU in browsers that have it, never unasked in Node, where its
 *  adapter may well be software. */
function usualOrder(): BackendName[] {
  const others = backendNames.filter((name) => name !== 'webgpu');
  const browser = typeof process === 'undefined' || !process.versions?.node;
  const { navigator } = globalThis as { navigator?: object };
  return browser && navigator !== undefined && 'gpu' in navigator ? ['webgpu', ...others] : others;
}

/** What `auto` takes. */
export interface AutoOptions extends CreateOptions {
  /** Tried before the others; where it is not available, the usual order follows and the reason says so. */
  readonly prefer?: BackendName;
}

function checkName(where: string, name: string): BackendName {
  check(
    Object.hasOwn(candidates, name),
    () => `${where}: expected one of ${backendNames.join(', ')}, got ${name}`,
  );
  return name as BackendName;
}

/** The backend named in the environment: that one and no other. */
function forcedName(): string | undefined {
  return (typeof process === 'undefined' ? undefined : process.env?.MINKE_BACKEND) || undefined;
}

function withReason(backend: Backend, reason: string): Backend {
  return Object.defineProperty(backend, 'info', { value: { ...backend.info, reason }, enumerable: true });
}

/**
 * Creates the named backend. Throws `unsupported`, with what is missing, when it cannot run here.
 *
 * @example
 * const backend = await createBackend('wasm');
 */
export async function createBackend(name: BackendName, options: CreateOptions = {}): Promise<Backend> {
  const { missing, create }: Candidate = candidates[checkName('createBackend', name)];
  const why = await missing();
  if (why !== undefined)
    throw new MinkeError('unsupported', `createBackend: expected to run ${name}, but ${why}`);
  return create(options);
}

async function choose(prefer: BackendName | undefined): Promise<{ name: BackendName; reason: string }> {
  const forced = forcedName();
  if (forced !== undefined) {
    const name = checkName('MINKE_BACKEND', forced);
    const why = await candidates[name].missing();
    if (why !== undefined)
      throw new MinkeError(
        'unsupported',
        `auto: MINKE_BACKEND=${name}, but ${why}; unset it to let Minke choose`,
      );
    return { name, reason: `MINKE_BACKEND=${name}` };
  }
  if (prefer !== undefined) checkName('auto', prefer);
  const order = prefer === undefined ? usualOrder() : [prefer, ...usualOrder()];
  const passed: string[] = [];
  for (const name of order) {
    const why = await candidates[name].missing();
    if (why === undefined) {
      const first = name === prefer ? 'preferred' : 'the fastest here';
      return { name, reason: passed.length === 0 ? first : [...new Set(passed)].join('; ') };
    }
    passed.push(`not ${name}: ${why}`);
  }
  throw new MinkeError('internal', 'auto: no backend can run, not even the reference');
}

/**
 * The fastest backend that runs here: in a browser WebGPU where there is one, then native, wasm, reference.
 * `info.reason` says why it was chosen. In Node WebGPU runs only when asked for.
 *
 * In Node the environment variable `MINKE_BACKEND` names one and excludes the others. Throws
 * `invalid-argument` for a name that does not exist, `unsupported` when the forced one cannot run.
 *
 * @example
 * const backend = await auto();
 * console.log(backend.info.name, backend.info.device, backend.info.reason);
 */
export async function auto(options: AutoOptions = {}): Promise<Backend> {
  const { name, reason } = await choose(options.prefer);
  const backend = await candidates[name].create(options);
  return withReason(backend, `${backend.info.reason}; ${reason}`);
}

/** Every backend of this package as it stands here. */
export interface BackendChoice {
  /** What `auto()` creates; null when it throws. */
  readonly picked: BackendName | null;
  /** Why that one, or the error. */
  readonly reason: string;
  readonly backends: readonly {
    readonly name: BackendName;
    readonly available: boolean;
    /** What it runs on, or what is missing. */
    readonly reason: string;
    /** Instruction set or adapter; empty when not available. */
    readonly device: string;
    readonly threads: number;
  }[];
}

/**
 * What runs here and why: for error reports and `--version` pages.
 *
 * @example
 * const { picked, backends } = await backendInfo();
 */
export async function backendInfo(): Promise<BackendChoice> {
  const backends: BackendChoice['backends'][number][] = [];
  for (const name of backendNames) {
    const why = await candidates[name].missing();
    if (why !== undefined) {
      backends.push({ name, available: false, reason: why, device: '', threads: 0 });
      continue;
    }
    const backend = await createBackend(name);
    const { reason, device, threads } = backend.info;
    backend.dispose();
    backends.push({ name, available: true, reason, device, threads });
  }
  try {
    const { name, reason } = await choose(undefined);
    return { picked: name, reason, backends };
  } catch (error) {
    if (!MinkeError.isInstance(error)) throw error;
    return { picked: null, reason: error.message, backends };
  }
}
