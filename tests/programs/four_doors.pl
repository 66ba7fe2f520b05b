% A quiz with four doors: the host opens one losing door; stay or switch.
%% answer: stay  0.25
%% answer: prize(2)  0.375
%% answer: prize(3)  0

1/4::prize(1); 1/4::prize(2); 1/4::prize(3); 1/4::prize(4).
1/3::opens(2); 1/3::opens(3); 1/3::opens(4) :- prize(1).
1/2::opens(3); 1/2::opens(4) :- prize(2).
1/2::opens(2); 1/2::opens(4) :- prize(3).
1/2::opens(2); 1/2::opens(3) :- prize(4).

stay :- prize(1).

query(stay).
query(prize(2)).
query(prize(3)).
evidence(opens(3)).
