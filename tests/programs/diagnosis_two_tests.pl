% A rare state and two imperfect tests, one positive and one negative.
%% answer: ill  0.8648275862068966
%% answer: negative(slow)  0

0.02::ill.

0.95::positive(fast); 0.05::negative(fast) :- ill.
0.1::positive(fast); 0.9::negative(fast) :- \+ ill.
0.99::positive(slow); 0.01::negative(slow) :- ill.
0.03::positive(slow); 0.97::negative(slow) :- \+ ill.

query(ill).
query(negative(slow)).
evidence(positive(fast)).
evidence(positive(slow)).
