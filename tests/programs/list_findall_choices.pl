% findall over several annotated disjunctions keeps clause order; impossible lists have probability 0.
%% answer: values([1, 1])  0.15
%% answer: values([1, 3])  0.3
%% answer: values([1])  0.05
%% answer: values([2, 1])  0.15
%% answer: values([2, 3])  0.3
%% answer: values([2])  0.05
%% answer: values([])  0
%% answer: values([3])  0
%% answer: values([1, 2])  0
%% answer: values([1, 1, 3])  0
%% answer: values([1, 2, 1])  0
%% answer: values([1, 2, 3])  0
%% answer: values([2, 1, 3])  0
%% answer: values([1, 2, 1, 3])  0
%% answer: twice(1)  0.15

0.5::digit(a, 1); 0.5::digit(a, 2).
0.3::digit(b, 1); 0.6::digit(b, 3).

values(L) :- findall(V, digit(_, V), L).
twice(V) :- findall(D, digit(D, V), L), length(L, 2).

query(values(_)).
query(twice(1)).
