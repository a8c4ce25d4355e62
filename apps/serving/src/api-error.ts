/**
 * Errors as OpenAI's clients expect them: `{ error: { message, type, param, code } }` with all four keys.
 *
 * A prompt beyond the context carries its numbers (`n_prompt_tokens`, `n_ctx`), as llama.cpp's server does.
 */
import { MinkeError } from '@minke/core';

/** OpenAI's kinds, and llama.cpp's for a prompt beyond the context. */
export type ApiErrorType =
  | 'invalid_request_error'
  | 'not_found_error'
  | 'exceed_context_size_error'
  | 'unavailable_error'
  | 'server_error';

/** A failure with its HTTP status; 503 asks the client to come back. */
export class ApiError extends Error {
  readonly status: number;
  readonly type: ApiErrorType;
  readonly param: string | null;
  readonly code: string | null;
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(
    status: number,
    type: ApiErrorType,
    message: string,
    options: { param?: string; code?: string; extra?: Record<string, unknown> } = {},
  ) {
    super(message);
    this.status = status;
    this.type = type;
    this.param = options.param ?? null;
    this.code = options.code ?? null;
    this.extra = options.extra ?? {};
  }

  /** The response body. */
  body(): { error: Record<string, unknown> } {
    const { message, type, param, code, extra } = this;
    return { error: { message, type, param, code, ...extra } };
  }
}

/** Any failure as an `ApiError`; unknown ones do not leak their text. */
export function toApiError(problem: unknown): ApiError {
  if (problem instanceof ApiError) return problem;
  if (MinkeError.isInstance(problem)) {
    if (problem.code === 'context-overflow') {
      const { promptTokens, contextLength } = problem.details;
      const extra = { n_prompt_tokens: promptTokens, n_ctx: contextLength };
      return new ApiError(400, 'exceed_context_size_error', problem.message, {
        param: 'messages',
        code: 'context_length_exceeded',
        extra,
      });
    }
    // Seen only where it was not the client who left: the server is going down.
    if (problem.code === 'aborted' || problem.code === 'out-of-memory') {
      return new ApiError(503, 'unavailable_error', problem.message);
    }
    if (problem.code === 'invalid-argument' || problem.code === 'unsupported') {
      return new ApiError(400, 'invalid_request_error', problem.message);
    }
  }
  // What reading the body of a client that has left gives.
  if (problem instanceof Error && 'code' in problem && problem.code === 'ECONNRESET') {
    return new ApiError(400, 'invalid_request_error', 'body: expected all of it, the client left before');
  }
  console.error(problem);
  return new ApiError(500, 'server_error', 'the server failed on this request; its log has the details');
}

/** The error as a JSON response. */
export function errorResponse(error: ApiError, headers: Record<string, string> = {}): Response {
  const retry: Record<string, string> = error.status === 503 ? { 'retry-after': '2' } : {};
  return Response.json(error.body(), { status: error.status, headers: { ...retry, ...headers } });
}
