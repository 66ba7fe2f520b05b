% Two atoms support each other, and each has one cause of its own.
%% answer: a  0.44
%% answer: b  0.44

0.3::push_a.
0.2::push_b.

a :- push_a.
b :- push_b.
a :- b.
b :- a.

query(a).
query(b).
