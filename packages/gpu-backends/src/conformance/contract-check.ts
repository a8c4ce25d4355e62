import type { Backend, OpName } from '@minke/core';

/** A check that throws, with what was wrong, when the backend does not keep the contract. */
export interface ContractCheck {
  readonly name: string;
  readonly op?: OpName;
  run(backend: Backend, reference: Backend): Promise<void>;
}
