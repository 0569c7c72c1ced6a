"""What an evaluation keeps of its batches."""

import torch

from lit_hep.base.kept import Kept


def test_all_batches_come_back_in_order_and_nothing_is_left():
    kept, random = Kept(), torch.Generator().manual_seed(0)
    for _ in range(2):
        lengths = torch.randint(0, 9, (40,), generator=random).tolist()
        batches = [(torch.arange(n), torch.rand(n, 3, generator=random), torch.rand(n) > 0.5) for n in lengths]
        wanted = [torch.cat(column) for column in zip(*batches, strict=True)]
        for batch in batches:
            kept.add(*batch)
            for column in batch:
                column.zero_()  # what is kept is not the batch itself
        got = kept.gather()
        assert all(
            torch.equal(mine, theirs) and mine.dtype == theirs.dtype for mine, theirs in zip(got, wanted, strict=True)
        )
    assert kept.gather() == []


def test_few_blocks_hold_many_batches():
    kept, places = Kept(), set()
    for _ in range(1000):
        kept.add(torch.arange(7))
        places.add(kept._columns[0].untyped_storage().data_ptr())
    assert len(places) < 12
