% Probabilities written as fractions.
%% answer: left  0.3333333333333333
%% answer: meet  0.09523809523809523
%% answer: some  0.5238095238095238

1/3::left.
2/7::right.

meet :- left, right.
some :- left.
some :- right.

query(left).
query(meet).
query(some).
