import { describe, expect, it } from 'vitest';
import { philox4x32, Random } from './philox.ts';

describe('philox4x32', () => {
  // Known answers from Random123's kat_vectors.
  it('matches the published known answers', () => {
    expect(philox4x32([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    const ones = 0xffffffff;
    expect(philox4x32([ones, ones, ones, ones], [ones, ones])).toEqual([
      0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd,
    ]);
    expect(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
    ]);
  });
});

describe('Random', () => {
  it('continues exactly from a saved state', () => {
    const random = new Random(42);
    for (let i = 0; i < 13; i++) random.uint32();
    const resumed = Random.from(random.state());
    for (let i = 0; i < 9; i++) expect(resumed.normal()).toBe(random.normal());
  });

  it('draws integers of a range evenly', () => {
    const random = new Random(1);
    const counts = new Array(7).fill(0);
    for (let i = 0; i < 70_000; i++) counts[random.integer(0, 7)]++;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(400);
  });

  it('gives different numbers to forked streams', () => {
    const random = new Random(3);
    expect(random.fork(0).uint32()).not.toBe(random.fork(1).uint32());
  });
});
