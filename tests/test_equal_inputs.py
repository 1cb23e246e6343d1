from clipfuse.equal_inputs import caption_keys, connect_equal, picture_keys


def test_pictures_are_equal_byte_for_byte(small):
    digests = small.samples.image_digests.copy()
    digests[[3, 5]] = digests[1]
    digests[[7, 8]] = 0  # no picture
    keys = picture_keys(small.with_samples(image_digests=digests).samples)
    assert connect_equal(keys).tolist() == [[1, 3], [1, 5]]
    assert keys[7] is None


def test_captions_are_equal_but_for_case_and_space(small):
    captions = list(small.samples.captions)
    captions[0], captions[4], captions[9] = "A dog on a  BEACH", " a dog\non a beach ", "a dog on a beach."
    captions[2], captions[3], captions[5] = None, "", "  "
    keys = caption_keys(small.with_samples(captions=tuple(captions)).samples)
    assert connect_equal(keys).tolist() == [[0, 4]]
    assert keys[2] is keys[3] is keys[5] is None


def test_nothing_is_equal():
    assert connect_equal([None, "a", "b", None]).shape == (0, 2)
